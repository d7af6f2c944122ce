"""Which calls pass where nobody has to say who they are: none that a web page of another origin may have sent."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from contracts.bundle import Bundle
from contracts.config import validate
from contracts.errors import ConfigError
from serving.gateway.http.config import GatewayConfig
from tests.unit.serving.gateway.calls import KEYS
from tests.unit.serving.gateway.conftest import Shop

EVENT = {"user_id": "u9", "item_id": "i1", "event": "click"}
CALLS = [
    ("POST", "/v1/interactions", EVENT),
    ("POST", "/v1/recommendations", {}),
    ("POST", "/v1/rankings", {"candidate_ids": ["i1"]}),
    ("DELETE", "/v1/users/u9", None),
    ("DELETE", "/v1/users/u9/seen", None),
    ("GET", "/v1/users/u9/data", None),
    ("HEAD", "/v1/users/u9/data", None),
    ("POST", "/v1/items", {}),
]
FREE = [("GET", "/v1/items"), ("GET", "/v1/items/i1"), ("GET", "/v1/items/i1/image"), ("GET", "/v1/status")]


async def ask(shop: Shop, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=shop.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        return await client.request(method, path, json=body, headers=headers)


@pytest.fixture
def opened(bundle: Bundle, raw_dir: Path) -> Shop:
    hosts = GatewayConfig().hosts
    return Shop(bundle, raw_dir, online=True, gateway={"hosts": hosts, "cors_origins": ["https://shop.example"]})


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1@evil", ""])
async def test_a_name_that_was_pointed_here_is_refused(
    opened: Shop, method: str, path: str, body: object, host: str
) -> None:
    response = await ask(opened, method, path, body, host=host)
    assert response.status_code == 403
    if method != "HEAD":
        error = response.json()["error"]
        assert error["code"] == "unknown_host"
        assert "answers to localhost, 127.0.0.1, ::1; add it to gateway.hosts, or set access.auth" in error["message"]
    assert await opened.redis.keys("*") == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:9", "[::1]:8000", "[::1]"])
async def test_loopback_names_pass_with_any_port(opened: Shop, host: str) -> None:
    assert (await ask(opened, "POST", "/v1/interactions", EVENT, host=host)).status_code == 202


@pytest.mark.parametrize(("method", "path"), FREE)
async def test_the_catalogue_is_free(opened: Shop, method: str, path: str) -> None:
    foreign = {"host": "evil.example", "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    assert (await ask(opened, method, path, **foreign)).status_code == 200


FOREIGN: list[dict[str, str]] = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost:3000"},
    {"origin": "https://shop.example.evil"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_pages_of_other_origins_are_refused(opened: Shop, method: str, path: str, body: object) -> None:
    for headers in FOREIGN:
        assert (await ask(opened, method, path, body, **headers)).status_code == 403, headers
    assert await opened.redis.keys("*") == []


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"},
        {"origin": "https://shop.example", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "none"},
    ],
)
async def test_our_own_pages_and_named_ones_may_call(opened: Shop, headers: dict[str, str]) -> None:
    assert (await ask(opened, "POST", "/v1/interactions", EVENT, **headers)).status_code == 202


async def test_with_access_control_the_credential_decides(bundle: Bundle, raw_dir: Path) -> None:
    shop = Shop(bundle, raw_dir, access={"auth": "api_key", "api_keys": KEYS})
    headers = {"host": "api.shop.example", "x-api-key": "shop-key"}
    assert (await ask(shop, "POST", "/v1/recommendations", {}, **headers)).status_code == 200


@pytest.mark.parametrize("host", ["api.shop.example", "10.0.0.7:80"])
async def test_named_hosts_pass(bundle: Bundle, raw_dir: Path, host: str) -> None:
    shop = Shop(bundle, raw_dir, gateway={"hosts": [host]})
    assert (await ask(shop, "POST", "/v1/recommendations", {}, host=host)).status_code == 200
    assert (await ask(shop, "POST", "/v1/recommendations", {}, host="localhost")).status_code == 403
    other_port = await ask(shop, "POST", "/v1/recommendations", {}, host=host.partition(":")[0] + ":81")
    assert other_port.status_code == (403 if ":" in host else 200)


@pytest.mark.parametrize("path", ["/v1/interactions", "/v1/recommendations", "/v1/rankings"])
@pytest.mark.parametrize("content_type", [None, "text/plain", "", "application/x-www-form-urlencoded", "application"])
async def test_bodies_that_a_page_may_send_unasked_are_refused(
    opened: Shop, path: str, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    transport = httpx.ASGITransport(app=opened.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        response = await client.post(path, content=b"{}", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("host", ["https://shop.example", "*", "shop.example/", "a b", ""])
def test_hosts_that_are_none_are_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="is no host; expected a name or an address"):
        validate(GatewayConfig, {"hosts": [host]}, source="x")
