"""Built-in features, and the config section that adds a shop's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final, Literal, Self

from pydantic import field_validator, model_validator

from contracts import columns as c
from contracts.config import StrictConfig
from contracts.feature import DAY_OF_WEEK, TIME_OF_DAY, Encoding, Feature, FeatureKind, Side
from contracts.schema import FeatureSchema

_RANGE: Final = re.compile(r"([A-Za-z_]\w*?)(\d+)\.\.\1(\d+)")


_query, _item = partial(Feature, side=Side.QUERY), partial(Feature, side=Side.ITEM)
_CATEGORICAL, _NUMERIC = FeatureKind.CATEGORICAL, FeatureKind.NUMERIC
AGE_EDGES: Final = (18.0, 25.0, 35.0, 50.0, 65.0)
ITEM_GENDER: Final = "item_gender"
PRICE_LOG_NORM: Final = "price_log_norm"
_top = partial(_query, kind=_CATEGORICAL, source="derived", encode=Encoding(share=c.CATEGORY_L1), mask="profile")
SHOP: Final = FeatureSchema(
    (
        _query(name=c.USER_ID, kind=_CATEGORICAL, mask="user_id"),
        _query(name=c.GENDER, kind=_CATEGORICAL),
        _query(name="age_binned", kind=_NUMERIC, column=c.AGE, encode=Encoding(bins=AGE_EDGES), mask="visitor"),
        _top(name=c.TOP_CATEGORY),
        _top(name=c.TOP_CATEGORY_LONG),
        _query(name=c.DEVICE_TYPE, kind=_CATEGORICAL, source="context"),
        _query(name="age_norm", kind=_NUMERIC, column=c.AGE, encode=Encoding(fill="whole_mean"), mask="visitor"),
        _query(name=TIME_OF_DAY, kind=FeatureKind.CYCLIC, source="derived"),
        _query(name=DAY_OF_WEEK, kind=FeatureKind.CYCLIC, source="derived"),
        _item(name=c.CATEGORY_L1, kind=_CATEGORICAL, filter=True, answer=True),
        _item(name=c.CATEGORY_L2, kind=_CATEGORICAL, filter=True, answer=True),
        _item(name=ITEM_GENDER, kind=_CATEGORICAL, column=c.GENDER, filter=True, answer=True),
        _item(
            name=PRICE_LOG_NORM, kind=_NUMERIC, column=c.PRICE, encode=Encoding(log="natural"), filter=True, answer=True
        ),
        _item(name="text", kind=FeatureKind.TEXT, source="derived"),
        _item(name="image", kind=FeatureKind.IMAGE, source="derived"),
    )
)
"""The features of the reference. Columns that a shop lacks are left out."""
PRESETS: Final[Mapping[str, FeatureSchema]] = {"shop": SHOP, "none": FeatureSchema(())}


class FeaturesConfig(StrictConfig):
    """The features of the shop."""

    preset: Literal["shop", "none"] = "shop"
    """Built-in features: those of a shop, or none."""
    columns: tuple[Feature, ...] = ()
    """Features of the shop's own columns; the name I1..I13 stands for thirteen features."""

    @field_validator("columns", mode="before")
    @classmethod
    def _spell_out(cls, value: object) -> object:
        if not isinstance(value, Sequence) or isinstance(value, str):
            return value
        return [one for entry in value for one in _spelled_out(entry)]

    @model_validator(mode="after")
    def _one_schema(self) -> Self:
        self.to_schema()
        return self

    def to_schema(self) -> FeatureSchema:
        """The built-in features and the shop's own."""
        return FeatureSchema(PRESETS[self.preset].features + self.columns)


def _spelled_out(entry: object) -> Iterator[object]:
    """Expands a range of names into one feature for each number."""
    name = entry.get("name") if isinstance(entry, Mapping) else None
    match = _RANGE.fullmatch(name) if isinstance(name, str) else None
    if match is None or not isinstance(entry, Mapping):
        yield entry
        return
    stem, first, last, digits = match[1], int(match[2]), int(match[3]), len(match[2])
    if last < first or "column" in entry:
        raise ValueError(f"{name!r} is not a range of names; expected for example I1..I13 without a column")
    yield from ({**entry, "name": f"{stem}{number:0{digits}}"} for number in range(first, last + 1))
