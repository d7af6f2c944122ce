"""The feature schema: all model inputs of a shop as data. Everything that lists features derives from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from pydantic import JsonValue

from contracts import columns as c
from contracts.feature import DAY_OF_WEEK, TIME_OF_DAY, Feature, FeatureKind, Side, Source


@dataclass(frozen=True)
class SideLayout:
    """Names of the encoded columns of a side, in order."""

    codes: tuple[str, ...]
    numbers: tuple[str, ...]
    lists: tuple[str, ...]
    vectors: tuple[str, ...]

    @classmethod
    def of(cls, features: Sequence[Feature]) -> SideLayout:
        """The layout of some features."""
        kinds = (FeatureKind.VECTOR, FeatureKind.TEXT, FeatureKind.IMAGE)
        return cls(
            tuple(name for feature in features for name in feature.codes),
            tuple(name for feature in features for name in feature.numbers),
            tuple(feature.name for feature in features if feature.kind is FeatureKind.CATEGORIES),
            tuple(feature.name for feature in features if feature.kind in kinds),
        )

    def __iter__(self) -> Iterator[str]:
        return iter((*self.codes, *self.numbers, *self.lists, *self.vectors))


@dataclass(frozen=True)
class FeatureSchema:
    """All features of a shop.

    Args:
        features: in the order of the models' inputs.

    Raises:
        ValueError: names clash, what `share` or `within` names does not exist, or a column is read as two kinds.
    """

    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        _check_names(self.features)
        for feature in self.features:
            self._check_share(feature)
            self._check_within(feature)
        _check_columns(self.features)

    def _check_share(self, feature: Feature) -> None:
        shared = feature.encode.share
        if shared is None:
            return
        owners = [one.name for one in self.features if one.vocabulary == one.name and one is not feature]
        if shared not in owners:
            raise ValueError(
                f"{feature.name}: encode.share={shared!r} is not a feature with its own vocabulary; legal: "
                f"{', '.join(owners)}"
            )

    def _check_within(self, feature: Feature) -> None:
        within = feature.encode.within
        legal = [one.name for one in self.of(feature.side) if one.kind is FeatureKind.CATEGORICAL]
        if within is not None and within not in legal:
            raise ValueError(
                f"{feature.name}: encode.within={within!r} is not a categorical feature of side={feature.side}; legal: "
                f"{', '.join(legal) or 'none'}"
            )

    @classmethod
    def from_values(cls, values: JsonValue) -> FeatureSchema:
        """Builds a schema from `values`, which may come from outside.

        Raises:
            ValueError: the values are not a schema.
        """
        if not isinstance(values, list):
            raise ValueError(f"a schema is a list of features, got a {type(values).__name__}")
        return cls(tuple(Feature.model_validate(one) for one in values))

    def values(self) -> list[dict[str, JsonValue]]:
        """Plain values from which `from_values` builds an equal schema."""
        return [feature.model_dump(mode="json", exclude_unset=True) for feature in self.features]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the schema; models refuse columns with another digest."""
        said = [feature.model_dump(mode="json") for feature in self.features]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def __getitem__(self, name: str) -> Feature:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def of(self, side: Side) -> tuple[Feature, ...]:
        """The features of a side."""
        return tuple(feature for feature in self.features if feature.side is side)

    def layout(self, side: Side) -> SideLayout:
        """Names of the encoded columns of a side."""
        return self._layouts[side]

    def read_from(self, source: Source) -> tuple[Feature, ...]:
        """The first feature of each distinct column of a source, in order."""
        found: dict[str, Feature] = {}
        for feature in self.features:
            if feature.origin == source:
                found.setdefault(feature.column_name, feature)
        return tuple(found.values())

    @cached_property
    def filters(self) -> tuple[Feature, ...]:
        """Item features that requests may filter by, one for each column."""
        return tuple({feature.column_name: feature for feature in self.features if feature.filter}.values())

    @cached_property
    def shown(self) -> tuple[Feature, ...]:
        """Item features with raw values for filters or answers, one for each column."""
        found = (feature for feature in self.features if feature.filter or feature.answer)
        return tuple({feature.column_name: feature for feature in found}.values())

    @cached_property
    def _by_name(self) -> dict[str, Feature]:
        return {feature.name: feature for feature in self.features}

    @cached_property
    def _layouts(self) -> dict[Side, SideLayout]:
        return {side: SideLayout.of(self.of(side)) for side in Side}


def _check_names(features: Sequence[Feature]) -> None:
    """Checks that names of features and of encoded columns are distinct."""
    taken = {c.ITEM_ID: "the catalogue's ids"}
    for feature in features:
        for name in dict.fromkeys((feature.name, *feature.codes, *feature.numbers)):
            if name in taken:
                raise ValueError(
                    f"the name {name!r} of the {feature.side} feature {feature.name!r} is taken by {taken[name]!r}; "
                    "rename it, and name its column by `column`"
                )
            taken[name] = feature.name


def _check_columns(features: Sequence[Feature]) -> None:
    """Checks that each column is read as one kind, and that column names are unique within a side."""
    read: dict[tuple[Side, str], Feature] = {}
    for feature in features:
        if feature.side is Side.QUERY and feature.column_name == c.TIMESTAMP:
            raise ValueError(
                f"{feature.name!r} reads {feature.origin}.{c.TIMESTAMP}, which is the time of a request; take "
                f"{TIME_OF_DAY} or {DAY_OF_WEEK} of source=derived, or give the column another name"
            )
        first = read.setdefault((feature.side, feature.column_name), feature)
        if (first.origin, first.kind, first.length) != (feature.origin, feature.kind, feature.length):
            raise ValueError(
                f"{feature.name!r} reads {feature.origin}.{feature.column_name} as {feature.kind}, and {first.name!r} "
                f"reads {first.origin}.{first.column_name} as {first.kind}; a side has one column of a name, and it is "
                "one thing"
            )
