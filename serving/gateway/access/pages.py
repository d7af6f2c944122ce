"""Protects a service without access control from foreign web pages; programs and known pages may call.

A browser lets any page send requests to a server on the visitor's machine or network. But its requests show the
origin of the page and the host name that it used, even if that name leads here (DNS rebinding).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from starlette.types import Scope

from contracts.errors import PageError
from recommender_api.operations import OPEN, Needed

LOOPBACK_HOSTS: Final = ("localhost", "127.0.0.1", "::1")
_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(:\d{1,5})?")
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FOREIGN: Final = frozenset({b"cross-site", b"same-site"})
_CATALOGUE: Final = "recommend"


def split_host(value: str) -> tuple[str, str] | None:
    """Name, in lower case and without brackets, and `:port` of a host; '' = no port. None if it is no host."""
    found = _HOST.fullmatch(value.strip().lower())
    return None if found is None else (found[1] or found[2], found[3] or "")


class PageGuard:
    """Refuses requests that a foreign web page may have sent, except reading the catalogue.

    Args:
        hosts: names and addresses of the service, with or without a port.
        origins: of web pages that may call.
    """

    def __init__(self, hosts: Collection[str], origins: Collection[str]) -> None:
        self._listed = ", ".join(hosts)
        self._hosts = {host for one in hosts if (host := _as_listed(one)) is not None}
        self._origins = frozenset(origin.encode() for origin in origins)

    def check(self, scope: Scope, needed: Needed) -> None:
        """Checks a call that needs a permission.

        Raises:
            PageError: its Host is unknown, or a page of another origin sent it.
        """
        if needed == OPEN or (needed == _CATALOGUE and scope["method"] in _SAFE):
            return
        hosts, origin, is_foreign = [], None, False
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value.decode("latin-1"))
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                is_foreign = value in _FOREIGN
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            raise PageError(
                f"Host is {', '.join(hosts)[:100]!r}, without access control the service answers to {self._listed}; "
                "add it to gateway.hosts, or set access.auth",
                hosts=self._listed,
            )
        if origin in self._origins:
            return
        if is_foreign if origin is None else origin.partition(b"://")[2].decode("latin-1").lower() != hosts[0].lower():
            raise PageError(
                f"a page of {(origin or b'another site')[:100].decode('latin-1')} sent this; "
                "to allow it, add its origin to gateway.cors_origins"
            )

    def _is_ours(self, host: str) -> bool:
        split = split_host(host)
        return split is not None and ((split[0], "") in self._hosts or split in self._hosts)


def _as_listed(host: str) -> tuple[str, str] | None:
    return (host, "") if host.count(":") > 1 and "[" not in host else split_host(host)
