"""Filters and excluded items over HTTP, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
import pytest

from contracts.bundle import Bundle
from contracts.errors import RequestError
from contracts.item_values import Categories
from contracts.presets import SHOP
from contracts.schema import FeatureSchema
from contracts.vocabulary import Vocabulary
from recommender_api.requests import Filters, ItemQuery, RecommendationRequest
from serving.gateway.catalogue.browser import Deadline
from serving.gateway.catalogue.catalogue import Catalogue
from serving.gateway.recommend.filters import FilterReader
from serving.placing.stage_table import STAGES
from tests.fixtures.served_bundle import NOW
from tests.unit.serving.gateway.conftest import Shop

PATH = "/v1/recommendations"
ALL = {f"i{number}" for number in range(1, 40)}
"""i40 is launched tomorrow."""


async def shown(client: httpx.AsyncClient, **body: Any) -> set[str]:
    response = await client.post(PATH, json={"k": 100, **body})
    assert response.status_code == 200, response.text
    items = [item["item_id"] for item in response.json()["recommendations"]]
    assert len(items) == len(set(items))
    return set(items)


def numbered(*numbers: int) -> set[str]:
    return {f"i{number}" for number in numbers}


async def test_filters_by_category_gender_and_price(client: httpx.AsyncClient) -> None:
    toys = numbered(*range(3, 40, 3))
    odd = numbered(*range(1, 40, 2))
    assert await shown(client, filters={"category_l1": ["toys"]}) == toys
    assert await shown(client, filters={"category_l1": ["toys", "books"]}) == toys | numbered(*range(1, 40, 3))
    assert await shown(client, filters={"category_l1": ["toys"], "category_l2": ["a"]}) == toys & odd
    assert await shown(client, filters={"gender": ["F"]}) == numbered(*range(2, 40, 3))
    assert await shown(client, filters={"min_price": 2, "max_price": 5.5}) == numbered(2, 4, 5)  # i3 has no price
    assert await shown(client, filters={"max_price": 0.5}) == set()
    assert await shown(client, filters={}) == ALL
    assert await shown(client, filters=None) == ALL


async def test_excluded_items_do_not_come_back(client: httpx.AsyncClient) -> None:
    assert await shown(client, exclude=["i1", "i2", "nothing that exists"]) == ALL - numbered(1, 2)
    assert await shown(client, exclude=[f"i{number}" for number in range(1, 1_001)]) == set()
    assert await shown(client, user_id="u1", exclude=["i9"], filters={"category_l1": ["toys"]}) == numbered(
        *range(6, 40, 3)
    ) - numbered(9)  # i3 was seen


@pytest.mark.parametrize("name", STAGES)
async def test_filters_hold_when_a_stage_is_replaced(client: httpx.AsyncClient, shop: Shop, name: str) -> None:
    async def broken(*_: Any, timeout_s: float) -> Any:
        raise TimeoutError

    shop.stages[name].stage = broken
    answer = (
        await client.post(
            PATH, json={"user_id": "u2", "k": 100, "exclude": ["i9"], "filters": {"category_l1": ["toys"]}}
        )
    ).json()
    assert name in answer["degraded"]
    assert {item["item_id"] for item in answer["recommendations"]} == numbered(*range(3, 40, 3)) - numbered(9)


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"filters": {"category_l1": ["toys", "tools"]}},
        "filters.category_l1: no item has 'tools'; legal values: books, shoes, toys",
    ),
    ({"filters": {"category_l2": ["c"]}}, "filters.category_l2: no item has 'c'; legal values: a, b"),
    ({"filters": {"gender": ["X"]}}, "filters.gender: no item has 'X'; legal values: Any, F, M"),
    ({"filters": {"min_price": 3, "max_price": 2}}, "filters.min_price=3.0 is above filters.max_price=2.0; swap them"),
    ({"filters": {"min_price": -1}}, "Expected `float` >= 0.0 - at `$.filters.min_price`"),
    ({"filters": {"category_l1": []}}, "Expected `array` of length >= 1 - at `$.filters.category_l1`"),
    ({"filters": {"category_l1": "toys"}}, "got `str` - at `$.filters.category_l1`"),
    ({"filters": {"colour": ["red"]}}, "unknown field `colour` - at `$.filters`; legal fields: category_l1,"),
    ({"filters": []}, "got `array` - at `$.filters`"),
    ({"exclude": ["i1"] * 1_001}, "Expected `array` of length <= 1000 - at `$.exclude`"),
    ({"exclude": [1]}, "Expected `str`, got `int` - at `$.exclude[0]`"),
]


@pytest.mark.parametrize(("body", "message"), REFUSED, ids=[str(body)[:40] for body, _ in REFUSED])
async def test_filters_that_cannot_be_meant_are_refused(
    client: httpx.AsyncClient, body: dict[str, Any], message: str
) -> None:
    response = await client.post(PATH, json=body)
    assert response.status_code == 422
    assert message in response.json()["error"]["message"]


def named(names: Sequence[str]) -> Categories:
    """Categories that no item has."""
    return Categories(Vocabulary(names), np.zeros(40, dtype=np.int32))


def test_near_names_where_there_are_many(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("garden tools", "toys", *(f"{number:03}" for number in range(60)))
    monkeypatch.setitem(bundle.values, "category_l1", named(names))
    reader = FilterReader(bundle)
    with pytest.raises(RequestError, match="no item has 'toyz'; near ones: toys, of 62 values") as caught:
        reader(RecommendationRequest(filters=Filters(category_l1=["toyz"])))
    assert caught.value.details == {"field": "category_l1", "near": ["toys"]}
    with pytest.raises(RequestError, match="no item has '§§§'; near ones: none, of 62 values"):
        reader(RecommendationRequest(filters=Filters(category_l1=["§§§"])))


@pytest.mark.parametrize(("filters", "column"), [(Filters(gender=["F"]), "gender"), (Filters(min_price=3.0), "price")])
def test_a_filter_that_the_shop_does_not_have_is_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, filters: Filters, column: str
) -> None:
    monkeypatch.setattr(type(bundle), "schema", FeatureSchema(tuple(SHOP[name] for name in ("category_l1", "gender"))))
    with pytest.raises(RequestError, match=f"items cannot be filtered by {column}; legal: category_l1"):
        FilterReader(bundle)(RecommendationRequest(filters=filters))


def test_a_filter_on_a_column_that_the_tables_lacked_is_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = bundle.manifest.model_copy(update={"missing": ("items.price", "users.gender")})
    monkeypatch.setattr(bundle, "manifest", lacking)
    legal = "filtered by price; legal: category_l1, category_l2, gender"
    with pytest.raises(RequestError, match=legal):
        FilterReader(bundle)(RecommendationRequest(filters=Filters(max_price=3.0)))
    with pytest.raises(RequestError, match=legal):
        Catalogue(bundle).page(ItemQuery(min_price=3.0), NOW, Deadline(60.0))


def test_a_category_of_a_column_that_is_no_filter_is_refused_as_that(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(bundle), "schema", FeatureSchema((SHOP["gender"],)))
    with pytest.raises(RequestError, match="items cannot be filtered by category_l1; legal: none"):
        FilterReader(bundle)(RecommendationRequest(filters=Filters(category_l1=["nothing"])))


def test_near_names_are_not_looked_for_in_a_large_vocabulary(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contracts.vocabulary.SMALL", 50)
    monkeypatch.setitem(bundle.values, "category_l1", named(["toys", *(f"{number:03}" for number in range(60))]))
    with pytest.raises(RequestError, match="no item has 'toyz', which is none of 61 values") as caught:
        FilterReader(bundle)(RecommendationRequest(filters=Filters(category_l1=["toyz"])))
    assert caught.value.details == {"field": "category_l1", "near": []}
