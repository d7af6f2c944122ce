from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from recommender_api.requests import MAX_CONTEXT
from recommender_api.shop import ShopColumn, ShopTypes

TYPES = ShopTypes(
    context=(
        ShopColumn("country", "category"),
        ShopColumn("words", "categories"),
        ShopColumn("spend", "number"),
        ShopColumn("place", "vector", 2),
    ),
    filters=(ShopColumn("brand", "category"), ShopColumn("weight", "number"), ShopColumn("price", "number")),
)
BODIES: dict[str, tuple[object, dict[str, Any]]] = {
    "recommendation": (TYPES.recommendation, {}),
    "ranking": (TYPES.ranking, {"candidate_ids": ["i1"]}),
    "event": (TYPES.event, {"item_id": "i1", "event": "click", "user_id": "u1"}),
}


def decoded(kind: str, context: object) -> Any:
    annotation, body = BODIES[kind]
    return msgspec.json.decode(json.dumps(body | {"context": context}), type=annotation)


@pytest.mark.parametrize("kind", list(BODIES))
@pytest.mark.parametrize(
    "context",
    [
        None,
        {},
        {"country": "de", "words": ["a", 7, True], "spend": -3, "place": [0, 2.5]},
        {"country": 7, "words": [], "spend": 2**53 - 1},
        {"country": False, "spend": None},
    ],
)
def test_values_of_each_kind(kind: str, context: dict[str, Any] | None) -> None:
    found = decoded(kind, context).context
    for name, value in (context or {}).items():
        assert getattr(found, name) == value


@pytest.mark.parametrize("kind", list(BODIES))
@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"land": "de"}, "unknown field `land`"),
        ({"country": [1]}, r"got `array` - at `\$.context.country`"),
        ({"country": "a\nb"}, r"matching regex .*\$.context.country"),
        ({"country": 2**63}, r"<= 9223372036854775807.*\$.context.country"),
        ({"words": ["a"] * (MAX_CONTEXT + 1)}, rf"length <= {MAX_CONTEXT} - at `\$.context.words`"),
        ({"spend": "7"}, r"Expected `float \| null`, got `str` - at `\$.context.spend`"),
        ({"spend": 2.0**53}, r"<= 9007199254740991.*\$.context.spend"),
        ({"spend": -1e300}, r">= -9007199254740991.*\$.context.spend"),
        ({"place": [1]}, r"length >= 2 - at `\$.context.place`"),
        ({"place": [1, 2, 3]}, r"length <= 2 - at `\$.context.place`"),
        ({"place": [1e300, 0]}, r"<= 9007199254740991.*\$.context.place\[0\]"),
    ],
)
def test_a_value_that_its_column_cannot_have_is_refused_by_name(
    kind: str, context: dict[str, Any], message: str
) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        decoded(kind, context)


def test_own_filters_stand_beside_those_of_every_shop() -> None:
    body = {"filters": {"brand": ["A", 7], "weight": {"min": 1}, "min_price": 2}}
    found = msgspec.json.decode(json.dumps(body), type=TYPES.recommendation).filters
    assert (found.brand, found.weight.min, found.min_price) == (["A", 7], 1, 2)
