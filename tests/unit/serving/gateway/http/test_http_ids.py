"""Ids of any form over HTTP, without a server: legal ones everywhere, others where they must be erased."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from contracts.bundle import Bundle
from tests.fixtures.served_bundle import NOW, write_served_bundle
from tests.unit.serving.gateway.conftest import PIXEL, Shop

ODD_ITEMS = ("x/similar", "x/image", "x", "%2F", "a b?#ä")
ODD_USERS = ("u1/seen", "a/data", "..", ".", "a\nb", "\x00", "%2F", "x" * 300, " ", "\x85")


@pytest.fixture
def shop(bundle: Bundle, raw_dir: Path) -> Shop:
    return Shop(bundle, raw_dir, online=True)


async def view(client: httpx.AsyncClient, user: str) -> None:
    event = {"user_id": user, "item_id": "i3", "event": "view"}
    assert (await client.post("/v1/interactions", json=event)).status_code == 202


async def test_a_slash_in_an_id_is_not_one_in_the_path(client: httpx.AsyncClient) -> None:
    for user in ("u9", "u9/seen"):
        await view(client, user)
    assert (await client.delete("/v1/users/u9%2Fseen")).json() == {"user_id": "u9/seen", "erased_at": NOW}
    assert (await client.get("/v1/users/u9%2Fseen/data")).json()["seen"] == []
    assert (await client.get("/v1/users/u9/data")).json()["seen"] == [{"day": "2026-01-14", "num_items": 1}]
    assert (await client.get("/v1/users/u9/seen/data")).status_code == 404


@pytest.mark.parametrize("user", ODD_USERS)
async def test_whatever_was_accepted_once_can_be_exported_and_erased(client: httpx.AsyncClient, user: str) -> None:
    encoded = quote(user, safe="").replace(".", "%2E")
    assert (await client.get(f"/v1/users/{encoded}/data")).json()["user_id"] == user
    assert (await client.delete(f"/v1/users/{encoded}/seen")).json() == {"user_id": user, "flushed": False}
    assert (await client.delete(f"/v1/users/{encoded}")).json() == {"user_id": user, "erased_at": NOW}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("DELETE", path) for path in ("/v1/users/", "/v1/users//seen", "/v1/users/%", "/v1/users/%FF")),
        *(("GET", path) for path in ("/v1/users//data", "/v1/users/%zz/data", "/v1/items/", "/v1/items//similar")),
    ],
)
async def test_what_is_no_id_is_refused_by_name(client: httpx.AsyncClient, method: str, path: str) -> None:
    response = await client.request(method, path)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")
    assert "the path" in response.json()["error"]["message"]


async def test_items_are_not_shadowed_by_what_follows_an_id(tmp_path: Path) -> None:
    names = [*ODD_ITEMS, *(f"i{row + 1}" for row in range(len(ODD_ITEMS), 40))]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "i1.png").write_bytes(PIXEL)
    shop = Shop(write_served_bundle(tmp_path, "odd", strings_changed={"item_id": names}), tmp_path)
    transport = httpx.ASGITransport(app=shop.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        for name in ODD_ITEMS:
            encoded = quote(name, safe="")
            assert (await client.get(f"/v1/items/{encoded}")).json()["item_id"] == name
            assert (await client.get(f"/v1/items/{encoded}/similar")).json()["item_id"] == name
        assert (await client.get("/v1/items/x%2Fsimilar/image")).content == PIXEL
        assert (await client.get("/v1/items/x/similar")).json()["item_id"] == "x"


@pytest.mark.parametrize("illegal", ["", "x" * 257, "a\nb", "a\n", "\x7f", "\x85", ".", ".."])
@pytest.mark.parametrize("field", ["user_id", "session_id", "device_type", "exclude", "recent_items"])
async def test_requests_with_an_illegal_id_are_refused(client: httpx.AsyncClient, field: str, illegal: str) -> None:
    value = [illegal] if field in {"exclude", "recent_items"} else illegal
    response = await client.post("/v1/recommendations", json={field: value})
    assert response.status_code == 422
    message = response.json()["error"]["message"]
    assert f"$.{field}" in message
    assert "of length" in message or "a text without control characters that is neither '.' nor '..'" in message


@pytest.mark.parametrize("field", ["user_id", "session_id", "item_id", "event_id", "device_type", "request_id"])
async def test_events_with_an_illegal_id_are_refused(client: httpx.AsyncClient, field: str) -> None:
    event = {"user_id": "u1", "item_id": "i3", "event": "view", field: "a\tb"}
    response = await client.post("/v1/interactions", json=event)
    assert response.status_code == 422
    assert "a text without control characters" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("category_l1=a&category_l1=b", "the parameter 'category_l1' is given more than once"),
        ("limit=1&limit=1", "the parameter 'limit' is given more than once"),
        ("page=1&page=2", "the parameter 'page' is given more than once"),
        ("text=%FF", "the query of the address is no UTF-8"),
        ("category_l1=%0A", "a text without control characters that is neither '.' nor '..' - at `$.category_l1`"),
    ],
)
async def test_queries_are_taken_as_strictly_as_bodies(client: httpx.AsyncClient, query: str, says: str) -> None:
    response = await client.get(f"/v1/items?{query}")
    assert response.status_code == 422
    assert says in response.json()["error"]["message"]
