"""Columns of the raw tables that a feature schema reads."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.columns import Column, Kind
from contracts.declared import declared_columns, unknown_renames
from contracts.feature import Feature
from contracts.features import Field, feature_views
from contracts.presets import SHOP
from contracts.schema import FeatureSchema


def feature(name: str, side: str, kind: str, **values: Any) -> Feature:
    return Feature.model_validate({"name": name, "side": side, "kind": kind, **values})


def declared(name: str, kind: Kind, **values: Any) -> Column:
    return Column(name, kind, declared=True, **values)


OWN = (
    feature("vip", "query", "categorical"),
    feature("income_bin", "query", "numeric", column="income", encode={"bins": 4}),
    feature("income_log", "query", "numeric", column="income", encode={"log": "signed"}),
    feature("interests", "query", "categories"),
    feature("taste", "query", "vector", length=2),
    feature("birth_month", "query", "cyclic", encode={"period": 12}),
    feature("brand", "item", "categorical", filter=True),
    feature("country", "query", "categorical", source="context", nullable=False),
)
SCHEMA = FeatureSchema(SHOP.features + OWN)


def test_the_shop_reads_fixed_columns_only() -> None:
    assert declared_columns(SHOP) == {}


def test_columns_of_ones_own_by_table() -> None:
    assert declared_columns(SCHEMA) == {
        "users": (
            declared("vip", Kind.CATEGORY),
            declared("income", Kind.FLOAT),
            declared("interests", Kind.STRINGS),
            declared("taste", Kind.VECTOR, length=2),
            declared("birth_month", Kind.FLOAT),
        ),
        "items": (declared("brand", Kind.CATEGORY),),
        "interactions": (declared("country", Kind.CATEGORY, nullable=False),),
        "impressions": (Column("country", Kind.CATEGORY),),  # logs may be older than the declaration
    }


def test_fields_of_users_in_the_online_store() -> None:
    profile, activity = feature_views(SCHEMA)
    assert profile.fields == (
        *(Field("gender", "string"), Field("age", "float"), Field("vip", "string"), Field("income", "float")),
        *(Field("interests", "strings"), Field("taste", "floats", 2), Field("birth_month", "float")),
    )
    assert activity.fields == (Field("top_category", "string"), Field("top_category_long", "string"))


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (
            feature("words", "item", "categorical", column="description"),
            "the column items.description is not a feature; remove",
        ),
        (
            feature("picture", "item", "categorical", column="image_path"),
            "the column items.image_path is not a feature",
        ),
        (
            feature("x", "item", "numeric", column="category_l2"),
            "items.category_l2 is a string, not numeric; legal kinds: c",
        ),
        (
            feature("x", "query", "categorical", column="age"),
            "users.age is a float64, not categorical; legal kinds: numer",
        ),
        (feature("x", "query", "categories", column="gender"), "users.gender is a string, not categories"),
        (feature("x", "query", "numeric", column="label", source="context"), "interactions.label is not a feature"),
        (
            feature("x", "query", "categorical", column="item_id", source="context"),
            "interactions.item_id is not a feature",
        ),
        (
            feature("x", "query", "categorical", column="clicked", source="context"),
            "impressions.clicked is not a feature",
        ),
    ],
)
def test_a_fixed_column_that_is_something_else(one: Feature, says: str) -> None:
    with pytest.raises(ValueError, match=f"{one.name}: .*{says}"):
        declared_columns(FeatureSchema((one,)))


def test_fixed_columns_may_have_another_encoding() -> None:
    launched = feature("launched", "item", "numeric", column="launched_at")
    assert declared_columns(FeatureSchema((launched, feature("sex", "query", "categorical", column="gender")))) == {}


def test_names_of_the_shops_columns_are_of_columns_that_there_are() -> None:
    assert unknown_renames({"items": {"brand": "marke", "title": "name"}, "users": {"vip": "VIP"}}, SCHEMA) is None
    assert unknown_renames({"impressions": {"country": "land"}}, SCHEMA) is None
    told = unknown_renames({"items": {"name": "title"}}, SCHEMA)
    assert told is not None
    assert told.startswith("unknown column 'name' of items; legal: item_id, title")
    assert told.endswith("launched_at, brand")
    assert unknown_renames({"items": {"brand": "marke"}}, SHOP) is not None
