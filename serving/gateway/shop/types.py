"""The API's types with the columns that a shop's schema declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from contracts import columns as c
from contracts.feature import FeatureKind
from contracts.schema import FeatureSchema
from recommender_api.shop import ShopColumn, ShopTypes

_KINDS: Final[Mapping[FeatureKind, Literal["category", "categories", "number", "vector"]]] = {
    FeatureKind.CATEGORICAL: "category",
    FeatureKind.CATEGORIES: "categories",
    FeatureKind.NUMERIC: "number",
    FeatureKind.CYCLIC: "number",
    FeatureKind.VECTOR: "vector",
}


def shop_types(schema: FeatureSchema) -> ShopTypes:
    """The types of a shop with a schema."""
    context = (one for one in schema.read_from("context") if one.column_name != c.DEVICE_TYPE)
    return ShopTypes(
        tuple(ShopColumn(one.column_name, _KINDS[one.kind], one.length or 0) for one in context),
        tuple(ShopColumn(one.column_name, _KINDS[one.kind]) for one in schema.filters),
    )
