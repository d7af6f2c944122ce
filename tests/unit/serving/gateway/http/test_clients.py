"""Addresses of clients: X-Forwarded-For is believed from named proxies only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.bundle import Bundle
from contracts.config import validate
from contracts.errors import ConfigError
from serving.gateway.http.clients import ClientAddress
from serving.gateway.http.config import GatewayConfig
from tests.unit.serving.gateway.calls import KEYS
from tests.unit.serving.gateway.conftest import Shop

PROXIES = ("10.0.0.0/8", "::1")


@pytest.mark.parametrize(
    ("proxies", "peer", "told", "expected"),
    [
        ((), "127.0.0.1", ["1.2.3.4"], "127.0.0.1"),
        (PROXIES, "127.0.0.1", ["1.2.3.4"], "127.0.0.1"),
        (PROXIES, "10.0.0.1", [], "10.0.0.1"),
        (PROXIES, "10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        (PROXIES, "::ffff:10.0.0.1", ["1.2.3.4:5678"], "1.2.3.4"),
        (PROXIES, "10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        (PROXIES, "10.0.0.1", ["6.6.6.6", "1.2.3.4, 10.0.0.2"], "1.2.3.4"),
        (PROXIES, "::1", ["[2001:DB8::1]:80, 10.0.0.2"], "2001:db8::1"),
        (PROXIES, "10.0.0.1", ["1.2.3.4, unknown"], "10.0.0.1"),
        (PROXIES, "10.0.0.1", [" 10.0.0.3, 10.0.0.2 "], "10.0.0.3"),
    ],
)
def test_the_nearest_address_that_is_no_proxys(
    proxies: tuple[str, ...], peer: str, told: list[str], expected: str
) -> None:
    headers = [(b"x-forwarded-for", one.encode()) for one in told]
    assert ClientAddress(proxies)({"type": "http", "client": (peer, 1), "headers": headers}) == expected


def test_no_address_is_none() -> None:
    scope: dict[str, Any] = {"type": "http", "client": None, "headers": [(b"x-forwarded-for", b"1.2.3.4")]}
    assert ClientAddress(PROXIES)(scope) == ""


@pytest.mark.parametrize(("proxies", "noted"), [([], "1.2.3.4"), (["1.2.3.0/24"], "6.6.6.6")])
async def test_the_audit_log_has_the_address(bundle: Bundle, raw_dir: Path, proxies: list[str], noted: str) -> None:
    shop = Shop(bundle, raw_dir, access={"auth": "api_key", "api_keys": KEYS}, gateway={"proxies": proxies})
    transport = httpx.ASGITransport(app=shop.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        await client.get("/v1/status", headers={"x-forwarded-for": "6.6.6.6, 1.2.3.4"})
    assert json.loads((raw_dir.parent / "audit.jsonl").read_text())["client"] == noted


def test_our_own_haproxy_is_always_among_the_proxies() -> None:
    assert GatewayConfig().proxies == ("127.0.0.0/8", "::1")
    named = GatewayConfig.model_validate({"proxies": ("10.0.0.1", "::1")})
    assert named.proxies == ("127.0.0.0/8", "::1", "10.0.0.1")


def test_proxies_are_addresses_or_networks() -> None:
    with pytest.raises(ConfigError, match="'balancer' does not appear to be an IPv4 or IPv6 network"):
        validate(GatewayConfig, {"proxies": ["balancer"]}, source="x")
