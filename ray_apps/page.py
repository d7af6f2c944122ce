"""Runs the demo page beside a server, as a process of its own that calls the API like any other client."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from ray_apps.ports import free_port

FIRST_PORT: Final = 8501
_ROOT: Final = Path(__file__).parents[1]
_UP_TIMEOUT_S: Final = 60.0
_END_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True)
class DemoPage:
    """A page that is starting.

    Attributes:
        url: its address.
        program: the process that serves it.
    """

    url: str
    program: subprocess.Popen[bytes]

    def wait_until_up(self) -> bool:
        """Waits for its first answer; False if the process ended or took too long. The server works without it."""
        deadline = time.monotonic() + _UP_TIMEOUT_S
        while self.program.poll() is None and time.monotonic() < deadline:
            with suppress(OSError), urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=5):
                return True
            time.sleep(0.1)
        return False


@contextmanager
def page_beside(api: str, users: Sequence[str]) -> Iterator[DemoPage | None]:
    """Starts the page for an API and ends it with the block; None where Streamlit (extra `demo`) is missing.

    Args:
        api: address, which need not answer yet.
        users: known users to choose from.
    """
    if find_spec("streamlit") is None:
        yield None
        return
    port = free_port(FIRST_PORT)
    known = [part for user in users for part in ("--user", user)]
    command = [sys.executable, "-m", "demo_page", "--api", api, "--port", str(port), *known]
    program = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield DemoPage(f"http://127.0.0.1:{port}", program)
    finally:
        program.terminate()
        try:
            program.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
