"""Start options of the page."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

API_VARIABLE: Final = "RECOMMENDER_API_URL"
KEY_VARIABLE: Final = "RECOMMENDER_API_KEY"
_API: Final = "http://127.0.0.1:8000"


class Options(NamedTuple):
    """Start options.

    Attributes:
        api: address of the API, including a path prefix.
        users: known users to offer; others can be typed in.
        host: address that the page listens on.
        port: of the page.
    """

    api: str
    users: tuple[str, ...]
    host: str
    port: int

    @classmethod
    def parse(cls, argv: Sequence[str] | None, environment: Mapping[str, str]) -> Options:
        """Reads the command line; the address of the API defaults to the environment variable."""
        parser = argparse.ArgumentParser(prog="python -m demo_page", description="A page to watch the recommender.")
        api = environment.get(API_VARIABLE, _API)
        parser.add_argument("--api", default=api, help=f"address of the API; else from {API_VARIABLE}, else {_API}")
        parser.add_argument("--user", action="append", default=[], help="a known user to choose; may be repeated")
        parser.add_argument("--host", default="127.0.0.1", help="address that the page listens on")
        parser.add_argument("--port", type=int, default=8501, help="of the page")
        given = parser.parse_args(argv)
        return cls(given.api.rstrip("/"), tuple(given.user), given.host, given.port)

    @property
    def arguments(self) -> list[str]:
        """The command line for these options."""
        users = [part for user in self.users for part in ("--user", user)]
        return ["--api", self.api, *users, "--host", self.host, "--port", str(self.port)]
