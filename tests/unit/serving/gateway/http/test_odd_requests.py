"""Requests as no client library sends them: odd Host headers, targets, paths and header values, by a plain scope."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.bundle import Bundle
from contracts.presets import SHOP
from recommender_api.operations import OPEN
from serving.gateway.http.openapi import openapi_document
from serving.gateway.http.routes import find_route
from serving.gateway.shop.types import shop_types
from tests.unit.serving.gateway.calls import KEYS
from tests.unit.serving.gateway.conftest import Shop

HOSTS = [b"[", b"[::1", b"]", b"a b", b"\xff", b"shop:port", b"shop:99999", b"shop/..", b"//x", b"x@shop", b""]


async def send(
    shop: Shop, method: str, raw_path: bytes, headers: list[tuple[bytes, bytes]], body: bytes = b"", **scope: Any
) -> tuple[int, dict[str, Any]]:
    """Status and JSON of an answer."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def answer(message: Any) -> None:
        sent.append(message)

    path, _, query = raw_path.partition(b"?")
    request = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": ("9.9.9.9", 1),
        "server": ("127.0.0.1", 8000),
        **scope,
    }
    await shop.app(request, receive, answer)
    content = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], msgspec.json.decode(content) if content[:1] == b"{" else {}


@pytest.fixture
def keyed(bundle: Bundle, raw_dir: Path) -> Shop:
    admin = {**KEYS[0], "permissions": ["recommend", "write_events", "personal_data", "admin"]}
    return Shop(bundle, raw_dir, online=True, access={"auth": "api_key", "api_keys": [admin]})


@pytest.mark.parametrize("host", HOSTS)
async def test_what_is_not_there_is_not_found_under_any_host(keyed: Shop, host: bytes) -> None:
    """Nobody's Host header has a say in how an error is told."""
    headers = [(b"host", host), (b"x-api-key", b"shop-key")]
    for method, path, status in (
        ("GET", b"/docs/assets/nothing", 404),
        ("GET", b"/v1/nothing", 404),
        ("GET", b"/v1/items/none", 404),
        ("DELETE", b"/v1/items", 405),
    ):
        found, answer = await send(keyed, method, path, headers)
        assert (found, found == 404) == (status, answer["error"]["code"] == "not_found"), (path, answer)


def test_every_code_of_a_refused_event_is_described() -> None:
    described = openapi_document(shop_types(SHOP))["components"]["schemas"]["RefusedEvent"]["properties"]["code"][
        "enum"
    ]
    assert {"too_many", "erased_user"} <= set(described)


ODD_PATHS = [
    b"//v1/users/u1/data",
    b"/v1//users/u1/data",
    b"/v1/users/u1/data/",
    b"/v1/users/u1/data;x",
    b"/v1/users/u1/../u1/data",
    b"/v1/./users/u1/data",
    b"/V1/users/u1/data",
    b"/v1/users/u1%2Fdata",
    b"/v1%2Fusers/u1/data",
    b"/%76%31/users/u1/data",
    b"/docs/assets/../../v1/users/u1/data",
    b"/docs/assets/%2e%2e/%2e%2e/%2e%2e/pyproject.toml",
    b"/docs/assets/..%2f..%2f__init__.py",
    b"/docs/assets//etc/passwd",
    b"http://shop/v1/users/u1/data",
    b"*",
    b"",
]


@pytest.mark.parametrize("path", ODD_PATHS)
async def test_paths_that_only_look_like_an_operation_are_none(bundle: Bundle, raw_dir: Path, path: bytes) -> None:
    """What needs a permission cannot be had under another spelling of its path."""
    shop = Shop(bundle, raw_dir, online=True, access={"auth": "api_key", "api_keys": KEYS[:1]})
    for headers in ([], [(b"x-api-key", b"shop-key")]):
        status, _ = await send(shop, "GET", path, [(b"host", b"shop"), *headers])
        open_to_all = find_route("GET", path.decode()).permission == OPEN
        assert status == (404 if open_to_all else 403 if headers else 401), path


@pytest.mark.parametrize(
    ("encoded", "user_id"),
    [
        (b"a%2fb", "a/b"),
        (b"a%2Fb", "a/b"),
        (b"a;b=c", "a;b=c"),
        (b"%252F", "%2F"),
        (b"a%00", "a\x00"),
        (b"%C3%a4", "ä"),
        (b"%2e%2E", ".."),
        (b"..", ".."),
        (b"a+b", "a+b"),
        (b"a%20b", "a b"),
        (b"a%3Fb", "a?b"),
    ],
)
async def test_an_id_is_decoded_once_whatever_its_escapes_look_like(keyed: Shop, encoded: bytes, user_id: str) -> None:
    headers = [(b"host", b"shop"), (b"x-api-key", b"shop-key")]
    status, answer = await send(keyed, "GET", b"/v1/users/" + encoded + b"/data", headers)
    assert (status, answer["user_id"]) == (200, user_id)


@pytest.mark.parametrize("encoded", [b"%C0%AF", b"%ED%A0%80", b"%FF", b"%", b"%4", b"%zz", b"%u0041", b"a%0", b""])
async def test_escapes_that_are_none_are_refused(keyed: Shop, encoded: bytes) -> None:
    headers = [(b"host", b"shop"), (b"x-api-key", b"shop-key")]
    for path in (b"/v1/users/" + encoded + b"/data", b"/v1/items/" + encoded, b"/v1/items/" + encoded + b"/image"):
        status, answer = await send(keyed, "GET", path, headers)
        assert (status, answer["error"]["code"]) == (422, "invalid_request"), path


@pytest.mark.parametrize(
    "hosts",
    [[], [b"shop", b"shop"], [b"shop", b"evil"], [b"shop."], [b"user@shop"], [b"[::1]x"], [b"shop:"], [b"[0:0::1]"]],
)
async def test_in_open_mode_one_plain_host_is_wanted(shop: Shop, hosts: list[bytes]) -> None:
    headers = [(b"host", host) for host in hosts] + [(b"content-type", b"application/json")]
    status, answer = await send(shop, "POST", b"/v1/recommendations", headers, b"{}")
    assert (status, answer["error"]["code"]) == (403, "unknown_host")


async def test_an_application_below_a_prefix_keeps_its_permissions(bundle: Bundle, raw_dir: Path) -> None:
    shop = Shop(bundle, raw_dir, online=True, access={"auth": "api_key", "api_keys": KEYS})
    headers = [(b"host", b"shop"), (b"x-api-key", b"shop-key")]
    for raw_path, status in ((b"/shop/v1/items", 200), (b"/shop/v1/users/u1/data", 403), (b"/%73hop/v1/items", 403)):
        assert (await send(shop, "GET", raw_path, headers, root_path="/shop"))[0] == status, raw_path


@pytest.mark.parametrize("given", [b"0", b"-1", b"1.5", b"1e3", b"60001", b"9" * 400, b" 5", b"\xb2", b"", b"nan"])
async def test_budgets_that_are_none_are_refused(shop: Shop, given: bytes) -> None:
    headers = [(b"host", b"shop"), (b"content-type", b"application/json"), (b"x-budget-ms", given)]
    status, answer = await send(shop, "POST", b"/v1/recommendations", headers, b"{}")
    assert (status, answer["error"]["code"]) == (422, "invalid_request")
