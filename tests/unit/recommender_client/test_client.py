"""Both clients against the gateway, and against the API's description."""

from __future__ import annotations

import hashlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import httpx
import pytest

import recommender_client as rc
from contracts.bundle import Bundle
from contracts.presets import SHOP
from recommender_api.operations import ITEM, OPERATIONS, PICTURE, SIMILAR
from recommender_client import AsyncClient, Client
from serving.gateway.http.openapi import openapi_document
from serving.gateway.shop.types import shop_types
from tests.unit.serving.gateway.conftest import PIXEL, Shop

DOCUMENT = openapi_document(shop_types(SHOP))
NAMED = {one.name: one for one in OPERATIONS}
METHODS = sorted(name for name in vars(Client) if not name.startswith("_") and name not in ("call", "close"))
FEW = rc.ItemQuery(limit=2)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def test_every_method_is_of_an_operation() -> None:
    """An operation without a method is called by `call`."""
    assert set(METHODS) <= set(NAMED)


async def test_any_operation_can_be_called(client: Client, async_client: AsyncClient) -> None:
    assert client.call(ITEM, item_id="i2") == await async_client.item("i2")
    four = rc.SimilarQuery(k=4)
    assert await async_client.call(SIMILAR, four, item_id="i2") == client.similar("i2", four)
    assert client.call(PICTURE, item_id="i1", request_id="r1") == (PIXEL, "image/png")


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"picture", "ready"}))
def test_types_have_the_fields_that_are_described(name: str) -> None:
    operation = DOCUMENT["paths"][NAMED[name].path][NAMED[name].method.lower()]
    hints = get_type_hints(getattr(Client, name))
    answer = resolved(next(iter(operation["responses"].values()))["content"]["application/json"]["schema"])
    assert list(answer["properties"]) == list(hints["return"].__struct_fields__)
    if "requestBody" in operation and "request" in hints:
        body = resolved(operation["requestBody"]["content"]["application/json"]["schema"])
        assert set(body["properties"]) == set(hints["request"].__struct_fields__)
    query = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"]
    headers = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "header"}
    assert ("budget_ms" in hints, "request_id" in hints) == ("X-Budget-Ms" in headers, "X-Request-Id" in headers)
    assert query == list(hints["query"].__struct_fields__ if "query" in hints else ())


def test_both_clients_take_and_give_the_same() -> None:
    assert {*METHODS, "call", "aclose"} == {name for name in vars(AsyncClient) if not name.startswith("_")}
    for name in METHODS:
        one, other = (inspect.signature(getattr(kind, name)) for kind in (Client, AsyncClient))
        assert one == other, name
        assert inspect.iscoroutinefunction(getattr(AsyncClient, name))


def test_it_needs_neither_ray_nor_torch() -> None:
    code = (
        "import sys, recommender_client; print([m for m in ('ray', 'torch', 'numpy', 'starlette') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_tour_of_the_service(client: Client, shop: Shop) -> None:
    answer = client.recommend(rc.RecommendationRequest(user_id="u1", k=3), request_id="r1")
    assert (answer.request_id.split(".")[0], answer.user_id, len(answer.recommendations)) == ("r1", "u1", 3)
    toys = client.recommend(rc.RecommendationRequest(filters=rc.Filters(category_l1=["toys"]), exclude=["i3"]))
    assert {item.category_l1 for item in toys.recommendations} == {"toys"}
    assert "i3" not in {item.item_id for item in toys.recommendations}
    assert len(client.recommend().recommendations) == 10
    ranked = client.rank(rc.RankingRequest(candidate_ids=["i5", "i9", "nothing"]))
    assert {item.item_id for item in ranked.rankings} == {"i5", "i9"}
    assert ranked.unknown == ["nothing"]
    told = client.record([rc.InteractionEvent(user_id="u1", item_id=item, event="view") for item in ("i5", "nothing")])
    assert (told.accepted, told.duplicates, told.refused[0].code) == (1, 0, "unknown_item")
    assert [one.item_id for one in client.user_data("u1").recent_items] == ["i5"]
    assert client.flush_seen("u1").flushed is True
    assert client.erase_user("u1").user_id == "u1"
    assert [item.item_id for item in client.items(FEW).items] == ["i1", "i2"]
    assert client.item("i2").title == "Title 2"
    assert len(client.similar("i2", rc.SimilarQuery(k=4)).items) == 4
    assert client.picture("i1") == (PIXEL, "image/png")
    assert client.status().bundle.version == "tiny-1"
    assert client.ready() is False


async def test_a_tour_without_blocking(async_client: AsyncClient, shop: Shop) -> None:
    assert await async_client.ready() is False
    await shop.monitor.probe()
    assert await async_client.ready() is True
    answer = await async_client.recommend(rc.RecommendationRequest(k=2), request_id="r2")
    assert (answer.request_id.split(".")[0], len(answer.recommendations)) == ("r2", 2)
    assert len((await async_client.rank(rc.RankingRequest(candidate_ids=["i5"]))).rankings) == 1
    event = rc.InteractionEvent(session_id="s1", item_id="i5", event="cart", event_id="e1")
    assert [(await async_client.record([event])).duplicates for _ in range(2)] == [0, 1]
    assert (await async_client.user_data("u2")).known is False
    assert (await async_client.flush_seen("u2")).flushed is False
    assert (await async_client.erase_user("u2")).user_id == "u2"
    assert (await async_client.items(FEW)).total == 39
    assert (await async_client.item("i2")).item_id == "i2"
    assert len((await async_client.similar("i2")).items) == 10
    assert (await async_client.picture("i1")).media_type == "image/png"
    assert (await async_client.status()).placement == "here"


async def test_a_budget_is_sent(async_client: AsyncClient) -> None:
    assert (await async_client.recommend(budget_ms=60_000)).degraded == ()
    for call in (
        async_client.recommend(budget_ms=0),
        async_client.rank(rc.RankingRequest(candidate_ids=["i1"]), budget_ms=0),
    ):
        with pytest.raises(rc.RefusedError, match="X-Budget-Ms is '0'"):
            await call


async def test_refusals_are_typed(async_client: AsyncClient) -> None:
    with pytest.raises(rc.RefusedError, match="Expected `int` <= 100") as refused:
        await async_client.recommend(rc.RecommendationRequest(k=101), request_id="r3")
    error = refused.value
    assert (error.status, error.code, (error.request_id or "").split(".")[0]) == (422, "invalid_request", "r3")
    with pytest.raises(rc.RefusedError) as unknown:
        await async_client.recommend(rc.RecommendationRequest(filters=rc.Filters(category_l1=["nothing"])))
    assert "toys" in unknown.value.details["legal"]
    with pytest.raises(rc.NotFoundError, match="no item 'a/b' in the catalogue"):
        await async_client.item("a/b")


async def test_credentials_are_sent_and_refusals_typed(bundle: Bundle, tmp_path: Path) -> None:
    key = {"name": "s", "sha256": hashlib.sha256(b"key").hexdigest(), "permissions": ["write_events"]}
    shop = Shop(bundle, tmp_path, access={"auth": "api_key", "api_keys": [key]})
    transport = httpx.ASGITransport(app=shop.app)
    async with AsyncClient("http://shop", credential="key", transport=transport) as client:
        with pytest.raises(rc.ForbiddenError, match="needs the permission 'recommend'"):
            await client.recommend()
    async with AsyncClient("http://shop", transport=transport) as client:
        with pytest.raises(rc.UnauthenticatedError, match="no credential"):
            await client.recommend()


@pytest.mark.parametrize("raw_id", ["a/seen", "..", ".", "a\nb", "ä%2F?#", "//", " "])
def test_ids_of_any_form_reach_the_service(client: Client, raw_id: str) -> None:
    assert client.user_data(raw_id).user_id == raw_id
    assert client.erase_user(raw_id).user_id == raw_id


def test_ids_that_no_address_can_hold_are_refused_before_they_are_sent(client: Client) -> None:
    with pytest.raises(rc.RefusedError, match="user_id is empty; expected an id"):
        client.erase_user("")
    with pytest.raises(rc.RefusedError, match=r"item_id holds '.ud800', half of a character"):
        client.item("a\ud800")
    with pytest.raises(rc.RefusedError, match=r"the request holds '.udfff', half of a character"):
        client.recommend(rc.RecommendationRequest(user_id="\udfff"))
