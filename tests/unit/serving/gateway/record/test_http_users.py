"""Flush, erase and export over HTTP, without a server."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from contracts.bundle import Bundle
from contracts.encoders import Values
from contracts.user_records import UserFeatures
from recommender_api.interactions import UserData
from tests.fixtures.served_bundle import NOW
from tests.unit.serving.gateway.conftest import Shop


@pytest.fixture
def shop(bundle: Bundle, raw_dir: Path, tmp_path: Path) -> Shop:
    return Shop(bundle, raw_dir, online=True, access={"audit_file": str(tmp_path / "audit.jsonl")})


async def view(client: httpx.AsyncClient, user: str, *items: str) -> None:
    events = [{"user_id": user, "item_id": item, "event": "view"} for item in items]
    assert (await client.post("/v1/interactions", json=events)).json()["accepted"] == len(items)


async def shown(client: httpx.AsyncClient, user: str) -> dict[str, float]:
    answer = (await client.post("/v1/recommendations", json={"user_id": user, "k": 100})).json()
    return {item["item_id"]: item["score"] for item in answer["recommendations"]}


def audited(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]


async def test_a_flush_shows_everything_again(client: httpx.AsyncClient) -> None:
    await view(client, "u2", "i3")
    assert "i3" not in await shown(client, "u2")
    response = await client.delete("/v1/users/u2/seen")
    assert (response.status_code, response.json()) == (200, {"user_id": "u2", "flushed": True})
    assert "i3" in await shown(client, "u2")
    assert (await client.delete("/v1/users/u2/seen")).json()["flushed"] is False


async def test_an_export_has_everything_that_is_stored(client: httpx.AsyncClient) -> None:
    await view(client, "u1", "i2", "i4")
    assert (await client.get("/v1/users/u1/data")).json() == {
        "user_id": "u1",
        "known": True,
        "age": 30.0,
        "gender": "F",
        "top_category": "books",
        "top_category_long": "shoes",
        "recent_items": [{"item_id": "i4", "timestamp": NOW}, {"item_id": "i2", "timestamp": NOW}],
        "recent_categories": [{"category_l1": "books", "timestamp": NOW}, {"category_l1": "shoes", "timestamp": NOW}],
        "seen": [{"day": "2026-01-14", "num_items": 2}],
        "erased_at": None,
        "unreadable": [],
    }


async def test_an_export_has_the_shops_own_columns(
    client: httpx.AsyncClient, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    own: dict[str, Values] = {
        "city": ("Köln",),
        "likes": (("tea", "art"),),
        "income": np.array([np.nan]),
        "height": np.array([1.8]),
        "taste": np.array([[0.5, -1.0]], dtype=np.float32),
        "style": np.zeros((1, 2), dtype=np.float32),
    }
    read = shop.users.read

    async def read_all(user_ids: list[str]) -> UserFeatures:
        known = await read(user_ids)
        return replace(known, columns={**known.columns, **own})

    monkeypatch.setattr(shop.users, "read", read_all)
    told = (await client.get("/v1/users/u1/data")).json()
    assert (told["age"], told["gender"], told["top_category"]) == (30, "F", "books")
    assert told["columns"] == {
        "city": "Köln",
        "likes": ["tea", "art"],
        "income": None,
        "height": 1.8,
        "taste": [0.5, -1.0],
        "style": None,
    }
    assert msgspec.convert(told, UserData).columns == told["columns"]
    nobody = (await client.get("/v1/users/a%2Fb/data")).json()
    assert (nobody["user_id"], nobody["known"], nobody["age"], nobody["recent_items"]) == ("a/b", False, None, [])


async def test_an_erased_user_is_served_as_unknown_and_stays_so(client: httpx.AsyncClient) -> None:
    await view(client, "u5", "i3")
    response = await client.delete("/v1/users/u5")
    assert (response.status_code, response.json()) == (200, {"user_id": "u5", "erased_at": NOW})
    assert await shown(client, "u5") == await shown(client, "nobody")
    event = {"user_id": "u5", "item_id": "i3", "event": "view"}
    assert (await client.post("/v1/interactions", json=event)).json()["error"]["details"]["refused"][0] == {
        "index": 0,
        "code": "erased_user",
        "message": "the user was erased; events are taken again under a new user id",
    }
    assert (await client.get("/v1/users/u5/data")).json()["erased_at"] == NOW


async def test_every_call_is_audited(client: httpx.AsyncClient, tmp_path: Path) -> None:
    calls = {
        "r1": ("DELETE", "/v1/users/u1/seen"),
        "r2": ("GET", "/v1/users/u1/data"),
        "r3": ("DELETE", "/v1/users/u1"),
    }
    answers = {name: await client.request(*call, headers={"x-request-id": name}) for name, call in calls.items()}
    ids = {name: answer.headers["x-request-id"] for name, answer in answers.items()}
    lines = [{key: line[key] for key in ("event", "user_id", "request_id", "caller")} for line in audited(tmp_path)]
    assert lines == [
        {"event": name, "user_id": "u1", "request_id": ids[request], "caller": None}
        for name, request in (("flush_seen", "r1"), ("export", "r2"), ("erase", "r3"))
    ]


async def test_it_needs_its_own_permission_and_the_audit_names_the_caller(
    bundle: Bundle, raw_dir: Path, tmp_path: Path
) -> None:
    keys = [
        {"name": name, "sha256": hashlib.sha256(name.encode()).hexdigest(), "permissions": [permission]}
        for name, permission in (("privacy", "personal_data"), ("shop", "write_events"))
    ]
    access = {"auth": "api_key", "api_keys": keys, "audit_file": str(tmp_path / "audit.jsonl")}
    shop = Shop(bundle, raw_dir, online=True, access=access)
    transport = httpx.ASGITransport(app=shop.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        refused = await client.delete("/v1/users/u1", headers={"x-api-key": "shop"})
        assert (refused.status_code, refused.json()["error"]["details"]) == (403, {"needed": "personal_data"})
        assert (await client.get("/v1/users/u1/data")).status_code == 401
        assert (await client.delete("/v1/users/u1", headers={"x-api-key": "privacy"})).status_code == 200
    assert [(line["event"], line["caller"]) for line in audited(tmp_path)] == [
        ("refusal", "shop"),
        ("refusal", None),
        ("erase", "privacy"),
    ]


async def test_other_methods_are_refused(client: httpx.AsyncClient) -> None:
    response = await client.put("/v1/users/u1")
    assert (response.status_code, response.headers["allow"]) == (405, "DELETE")
