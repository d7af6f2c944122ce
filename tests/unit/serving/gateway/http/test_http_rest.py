"""Status, catalogue, pictures, description and whatever does not exist, over HTTP without a server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from contracts.errors import ConfigError
from contracts.messages import PipelineResult
from recommender_api import answers, requests
from recommender_api.operations import OPERATIONS
from serving.gateway.http import description
from serving.gateway.recommend.asked import Asked
from serving.gateway.watch import monitor
from serving.gateway.watch.monitor import WHOLE_IN_A_ROW
from serving.stores.keys import Keys
from serving.stores.meta import StoreMeta
from tests.fixtures.fake_stores import Fault
from tests.fixtures.served_bundle import DAY_S, NOW, write_served_bundle
from tests.unit.serving.gateway.conftest import PIXEL, Shop


async def test_status_tells_bundle_placement_and_clock(client: httpx.AsyncClient, shop: Shop) -> None:
    status = (await client.get("/v1/status")).json()
    assert status["placement"] == "here"
    assert status["now"] == NOW
    assert status["bundle"]["version"] == "tiny-1"
    assert status["bundle"]["num_items"] == 40
    assert status["ready"] is False
    assert status["degraded"] == []
    assert status["stores"] == {"online": "empty; run the materialize job", "interactions": "ok"}


async def test_status_tells_of_the_store_and_of_degraded_parts(client: httpx.AsyncClient, shop: Shop) -> None:
    meta = StoreMeta(shop="shop", bundle_version="tiny-1", written_at=NOW, num_users=1, num_recent=1, num_seen=1)
    await shop.redis.set(Keys("shop").meta, meta.model_dump_json())
    shop.users.fault = Fault(fails=True)
    await client.post("/v1/recommendations", json={"user_id": "u1"})
    status = (await client.get("/v1/status")).json()
    assert status["stores"] == {"online": "ok", "interactions": "ok"}
    assert status["degraded"] == ["user_features"]
    await shop.redis.set(Keys("shop").meta, "broken")
    assert "run the materialize job" in (await client.get("/v1/status")).json()["stores"]["online"]


async def test_ready_comes_with_the_first_answer_of_all_models(client: httpx.AsyncClient, shop: Shop) -> None:
    response = await client.get("/v1/ready")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "not_ready")
    shop.users.fault = shop.rings.fault = Fault(fails=True)  # stores may be down
    await shop.monitor.probe()
    response = await client.get("/v1/ready")
    assert (response.status_code, response.json()) == (200, {"ready": True, "interactions": "ok"})


async def test_connections_to_the_stores_are_warm_when_a_gateway_is_ready(shop: Shop) -> None:
    await shop.monitor.probe()
    assert len(shop.users.calls) == len(shop.recent.calls) == 1 + WHOLE_IN_A_ROW


async def test_ready_comes_when_answers_are_whole_within_the_budget_several_times_in_a_row(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, budgets, late = shop.service.run, [], {2, 5}  # of those that have a budget

    async def slow_at_times(asked: Sequence[Asked], budget_ms: Sequence[float]) -> PipelineResult:
        budgets.append(budget_ms[0])
        return await run(asked, [0.001] if len(budgets) - 1 in late else [float("inf")])

    monkeypatch.setattr(shop.service, "run", slow_at_times)
    await shop.monitor.probe()
    assert budgets == [float("inf"), *[shop.config.service.budget_ms] * (5 + WHOLE_IN_A_ROW)]
    assert shop.monitor.ready


async def test_a_machine_that_stays_too_slow_is_ready_after_a_while_and_told_so(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = shop.service.run

    async def slow(asked: Sequence[Asked], budget_ms: Sequence[float]) -> PipelineResult:
        return await run(asked, budget_ms if budget_ms[0] == float("inf") else [0.001])

    monkeypatch.setattr(shop.service, "run", slow)
    monkeypatch.setattr(monitor, "WARM_TIMEOUT_S", 0.2)
    await shop.monitor.probe()
    assert shop.monitor.ready
    assert "too slow for service.budget_ms=" in caplog.text
    assert "retrieval" in caplog.text


async def test_pages_lead_through_the_whole_catalogue(client: httpx.AsyncClient) -> None:
    seen: list[str] = []
    while True:
        page = (await client.get("/v1/items", params={"limit": 15, "offset": len(seen)})).json()
        assert (page["total"], page["limit"], page["offset"]) == (39, 15, len(seen))
        if not page["items"]:
            break
        seen += [item["item_id"] for item in page["items"]]
    assert seen == [f"i{number}" for number in range(1, 40)]


async def test_pages_under_a_filter(client: httpx.AsyncClient) -> None:
    async def ids(**query: str) -> list[str]:
        page = (await client.get("/v1/items", params={"limit": "100", **query})).json()
        assert page["total"] == len(page["items"])
        return [item["item_id"] for item in page["items"]]

    toys = await ids(category_l1="toys")
    assert toys == [f"i{number}" for number in range(3, 40, 3)]
    assert await ids(category_l1="toys", category_l2="a") == [item for item in toys if int(item[1:]) % 2 == 1]
    assert await ids(category_l1="unknown") == []
    assert await ids(min_price="8.0", max_price="10") == ["i8", "i9", "i10"]
    assert await ids(max_price="4") == ["i1", "i2", "i4"]  # the third has no price
    assert await ids(text="TITLE 1", max_price="12") == ["i1", "i10", "i11", "i12"]
    assert await ids(text=" 7  tit", category_l1="books") == ["i7", "i37"]
    assert await ids(text="description") == []
    assert await ids(text="1.") == []  # no pattern
    assert len(await ids(text=" ")) == 39


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"limit": "0"}, "Expected `int` >= 1 - at `$.limit`"),
        ({"limit": "101"}, "Expected `int` <= 100 - at `$.limit`"),
        ({"text": "x" * 101}, "Expected `str` of length <= 100 - at `$.text`"),
        ({"min_price": "-1"}, "Expected `float` >= 0.0 - at `$.min_price`"),
        ({"limit": "many"}, "Expected `int`, got `str` - at `$.limit`"),
        ({"offset": "-1"}, "Expected `int` >= 0 - at `$.offset`"),
        ({"page": "2"}, "unknown field `page`; legal fields: limit, offset, category_l1, category_l2, text, "),
    ],
)
async def test_bad_pages_are_refused(client: httpx.AsyncClient, query: dict[str, str], message: str) -> None:
    response = await client.get("/v1/items", params=query)
    assert response.status_code == 422
    assert message in response.json()["error"]["message"]


async def test_one_item(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/items/i2")).json() == {
        "item_id": "i2",
        "title": "Title 2",
        "description": None,
        "category_l1": "shoes",
        "category_l2": "b",
        "gender": "F",
        "price": 2.0,
        "image_url": None,  # its picture is not there
        "launched_at": None,
        "available": True,
    }
    future = (await client.get("/v1/items/i40")).json()
    assert (future["launched_at"], future["available"]) == (NOW + DAY_S, False)


@pytest.mark.parametrize("path", ["/v1/items/i99", "/v1/items/i99/image", "/v1/items/i2/image", "/v1/nothing", "/"])
async def test_what_does_not_exist_is_404(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 404
    assert list(response.json()["error"]) == ["code", "message", "details"]
    assert response.json()["error"]["code"] == "not_found"


async def test_ids_of_any_kind_find_their_item(tmp_path: Path, raw_dir: Path) -> None:
    odd = "a/b c?ä"
    names = [odd, *(f"i{row + 1}" for row in range(1, 40))]
    bundle = write_served_bundle(tmp_path, "odd", strings_changed={"item_id": names})
    shop = Shop(bundle, raw_dir)
    transport = httpx.ASGITransport(app=shop.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        image_url = shop.catalogue.item(odd, NOW).image_url
        assert image_url == "/v1/items/a%2Fb%20c%3F%C3%A4/image"
        assert (await client.get(image_url)).content == PIXEL
        assert (await client.get(image_url.removesuffix("/image"))).json()["item_id"] == odd


async def test_other_methods_are_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/status")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")
    assert response.json()["error"]["code"] == "method_not_allowed"


async def test_a_bug_shows_no_traceback(client: httpx.AsyncClient, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("very private")

    monkeypatch.setattr(shop.catalogue, "item", broken)
    response = await client.get("/v1/items/i1")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "private" not in response.text


@pytest.mark.parametrize("path", ["/v1/status", "/v1/items/i2", "/v1/items/i1/image", "/v1/nothing", "/docs"])
async def test_every_answer_has_one_request_id(client: httpx.AsyncClient, path: str) -> None:
    given = await client.get(path, headers={"X-Request-Id": "r9"})
    assert [name.split(".")[0] for name in given.headers.get_list("x-request-id")] == ["r9"]
    assert len((await client.get(path)).headers["x-request-id"]) == 32


def test_docs_name_the_package_that_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(description, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="the package 'fastapi_offline' is missing; install it for /docs"):
        description.swagger_folder()


async def test_docs_work_without_any_other_host(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    assert "http" not in page.replace("http-equiv", "")
    for asset in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert (await client.get(f"/{asset}")).status_code == 200, asset
    assert (await client.get("/docs/assets/../../__init__.py")).status_code == 404


def resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


async def test_the_description_is_made_from_the_structs(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {one.path for one in OPERATIONS}
    operation = document["paths"]["/v1/recommendations"]["post"]
    body = resolve(document, operation["requestBody"]["content"]["application/json"]["schema"])
    assert set(body["properties"]) == set(requests.RecommendationRequest.__struct_fields__)
    assert body["additionalProperties"] is False
    assert (body["properties"]["k"]["minimum"], body["properties"]["k"]["maximum"]) == (1, 100)
    answer = resolve(document, operation["responses"]["200"]["content"]["application/json"]["schema"])
    assert list(answer["properties"]) == list(answers.RecommendationResponse.__struct_fields__)
    assert {"400", "405", "413", "415", "422", "429", "503"} < set(operation["responses"])
    references = set(re.findall(r'"#/components/schemas/(\w+)"', msgspec.json.encode(document).decode()))
    assert references <= set(document["components"]["schemas"])
    query = {
        parameter["name"]
        for parameter in document["paths"]["/v1/items"]["get"]["parameters"]
        if parameter["in"] == "query"
    }
    assert query == set(requests.ItemQuery.__struct_fields__)
