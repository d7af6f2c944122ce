"""Client addresses from X-Forwarded-For, which counts from known proxies only."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated, Final

from pydantic import AfterValidator
from starlette.types import Scope

OWN_PROXIES: Final = ("127.0.0.0/8", "::1")
"""Addresses that a server's own HAProxy calls gateways from."""
_CACHED: Final = 4_096


def _checked(network: str) -> str:
    ip_network(network)  # raises ValueError
    return network


Networks = tuple[Annotated[str, AfterValidator(_checked)], ...]
"""Addresses and networks in settings."""


class ClientAddress:
    """Finds client addresses.

    Args:
        proxies: addresses and networks of proxies, which append the address of their client to X-Forwarded-For.
    """

    def __init__(self, proxies: Sequence[str]) -> None:
        self._networks = [ip_network(proxy) for proxy in proxies]
        self.is_proxy = lru_cache(_CACHED)(self._is_proxy)

    def __call__(self, scope: Scope) -> str:
        """The last hop that is not a known proxy; if all are proxies, the first hop; '' if there is none."""
        client = scope.get("client")
        address = (client and _normal(client[0])) or ""
        if not self.is_proxy(address):
            return address
        forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for").decode("latin-1")
        for hop in reversed(forwarded.split(",")):
            before = _normal(hop.strip())
            if before is None:
                return address
            address = before
            if not self.is_proxy(address):
                return address
        return address

    def _is_proxy(self, address: str) -> bool:
        return address != "" and any(ip_address(address) in network for network in self._networks)


@lru_cache(_CACHED)
def _normal(text: str) -> str | None:
    """An address in normal form, without a port; None if it is no address."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
