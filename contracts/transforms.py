"""Fitted feature transforms: saved beside the schema, applied by this one NumPy implementation offline and online."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from contracts import columns as c
from contracts.clock import ShopCalendar
from contracts.config import StrictConfig
from contracts.encoded import EncodedColumns
from contracts.encoders import Encode, ListEncoder, NumberEncoder, NumberFit, Values, hashed, nothing, on_circle
from contracts.feature import TIME_OF_DAY, Feature, FeatureKind, Side
from contracts.ids import AnyArray, BoolArray, FloatArray
from contracts.json_text import parse_json
from contracts.schema import FeatureSchema, SideLayout
from contracts.vocabulary import Vocabulary

SCHEMA: Final = "schema.json"
TRANSFORMS: Final = "transforms.json"
VOCABULARIES: Final = "vocabularies"
_HOURS, _WEEKDAYS = 24, 7


class _Step(NamedTuple):
    """How a feature is encoded."""

    feature: Feature
    source: str
    encode: Encode


_Plan = tuple[list[_Step], list[_Step], list[_Step], list[_Step]]


class _Fitted(StrictConfig):
    """The content of `TRANSFORMS`."""

    timezone: str
    """The shop's, IANA."""
    numbers: dict[str, NumberFit]
    """Of each numeric feature."""


@dataclass(frozen=True)
class FittedTransforms:
    """Everything that turns raw values into model inputs.

    Args:
        schema: the features.
        vocabularies: one for each feature that has one of its own, and that of the item ids; a feature that the shop
            lacks has an empty one.
        numbers: of each numeric feature.
        timezone: the shop's, IANA.

    Raises:
        ValueError: something that the schema needs is not there.
    """

    schema: FeatureSchema
    vocabularies: Mapping[str, Vocabulary]
    numbers: Mapping[str, NumberFit]
    timezone: str

    def __post_init__(self) -> None:
        names = vocabulary_names(self.schema)
        numeric = [one.name for one in self.schema.features if one.kind is FeatureKind.NUMERIC]
        for what, found, needed in (
            ("vocabularies", self.vocabularies, names),
            ("numbers", self.numbers, numeric),
        ):
            if set(found) != set(needed):
                raise ValueError(f"the {what} are of {sorted(found)}, the schema has {sorted(needed)}")
        ShopCalendar(self.timezone)  # refuses an unknown one

    @cached_property
    def calendar(self) -> ShopCalendar:
        """The shop's."""
        return ShopCalendar(self.timezone)

    def cardinality(self, name: str) -> int:
        """Rows of the embedding table of a categorical feature or of `item_id`, the OOV row included."""
        if name == c.ITEM_ID:
            return self.vocabularies[name].cardinality
        feature = self.schema[name]
        if feature.kind is FeatureKind.NUMERIC:
            return len(self.numbers[name].edges) + 2
        if feature.encode.buckets is not None:
            return feature.encode.buckets + 1
        return self.vocabularies[feature.vocabulary or name].cardinality

    def encode(self, name: str, values: Values) -> AnyArray:
        """Model inputs of one feature, or encoded ids of items by `item_id`; see `EncodedColumns` for the shapes."""
        return self.vocabularies[name].encode(values) if name == c.ITEM_ID else self._encoders[name](values)

    def columns(self, features: Sequence[Feature], values: Mapping[str, Values], size: int) -> EncodedColumns:
        """Model inputs of some features of one side.

        Args:
            features: in the order of the result.
            values: raw values by column, `timestamp` for hour and weekday; a column that is not there is missing.
            size: rows n.
        """
        return self._encoded(self._plan(features), values, size)

    def side(self, side: Side, values: Mapping[str, Values], size: int) -> EncodedColumns:
        """Model inputs of all features of a side; as `columns`."""
        return self._encoded(self._plans[side], values, size)

    def _encoded(self, plan: _Plan, values: Mapping[str, Values], size: int) -> EncodedColumns:
        codes, numbers, lists, vectors = (
            [
                step.encode(nothing(step.feature, size) if (given := values.get(step.source)) is None else given)
                for step in steps
            ]
            for steps in plan
        )
        stacked = np.stack(codes, axis=1) if codes else np.zeros((size, 0), dtype=np.int32)
        side_by_side = np.concatenate(numbers, axis=1) if numbers else np.zeros((size, 0), dtype=np.float32)
        return EncodedColumns(self.schema.digest, stacked, side_by_side, tuple(lists), tuple(vectors))

    def _plan(self, features: Sequence[Feature]) -> _Plan:
        """How features are encoded: those that give codes, numbers, lists and vectors."""
        plan: _Plan = ([], [], [], [])
        for one in features:
            if one.kind is not FeatureKind.LABEL:
                place = 0 if one.codes else 1 if one.numbers else 2 if one.kind is FeatureKind.CATEGORIES else 3
                plan[place].append(_Step(one, _source_of(one), self._encoders[one.name]))
        return plan

    @cached_property
    def _plans(self) -> dict[Side, _Plan]:
        return {side: self._plan(self.schema.of(side)) for side in Side}

    def without(self, columns: EncodedColumns, features: Sequence[Feature], rows: BoolArray) -> EncodedColumns:
        """Query columns in which nothing is known of some features in some rows.

        Args:
            columns: of the query side, [n].
            features: those to hide.
            rows: where, [n].
        """
        places = np.flatnonzero(rows)
        if len(places) == 0 or not features:
            return columns
        layout, unknown = self.schema.layout(Side.QUERY), self.columns(features, {}, 1)
        names = SideLayout.of(features)
        codes, numbers = columns.codes.copy(), columns.numbers.copy()
        codes[places[:, None], [layout.codes.index(name) for name in names.codes]] = unknown.codes
        numbers[places[:, None], [layout.numbers.index(name) for name in names.numbers]] = unknown.numbers
        hidden_rows = rows[:, None]
        lists, vectors = list(columns.lists), list(columns.vectors)
        for name, list_of_none in zip(names.lists, unknown.lists, strict=True):
            place = layout.lists.index(name)
            lists[place] = np.where(hidden_rows, list_of_none, lists[place])
        for name, zeros in zip(names.vectors, unknown.vectors, strict=True):
            place = layout.vectors.index(name)
            vectors[place] = np.where(hidden_rows, zeros, vectors[place])
        return EncodedColumns(columns.digest, codes, numbers, tuple(lists), tuple(vectors))

    def save(self, folder: Path) -> None:
        """Writes `SCHEMA`, `TRANSFORMS` and the vocabularies into a folder."""
        (folder / SCHEMA).write_text(json.dumps(self.schema.values(), indent=1) + "\n", encoding="utf-8")
        fitted = _Fitted(timezone=self.timezone, numbers=dict(self.numbers))
        (folder / TRANSFORMS).write_text(fitted.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (folder / VOCABULARIES).mkdir(exist_ok=True)
        for name, vocabulary in self.vocabularies.items():
            vocabulary.save(folder / VOCABULARIES / name)

    @classmethod
    def open(cls, folder: Path) -> FittedTransforms:
        """The transforms saved by `save`, which may come from outside.

        Raises:
            ValueError: a file is none, or they do not fit each other.
            ConfigError: the timezone is unknown.
            OSError: a file is not there.
        """
        schema = FeatureSchema.from_values(parse_json((folder / SCHEMA).read_bytes()))
        fitted = _Fitted.model_validate_json((folder / TRANSFORMS).read_bytes())
        names = vocabulary_names(schema)
        vocabularies = {name: Vocabulary.open(folder / VOCABULARIES / name) for name in names}
        return cls(schema, vocabularies, fitted.numbers, fitted.timezone)

    @cached_property
    def _encoders(self) -> dict[str, Encode]:
        return {feature.name: self._encoder(feature) for feature in self.schema.features}

    def _encoder(self, feature: Feature) -> Encode:
        match feature.kind:
            case FeatureKind.CATEGORICAL:
                return self._category_encoder(feature)
            case FeatureKind.CATEGORIES:
                return ListEncoder(self._category_encoder(feature), feature.encode.max_length)
            case FeatureKind.NUMERIC:
                return NumberEncoder(feature, self.numbers[feature.name])
            case FeatureKind.CYCLIC:
                return self._cyclic_encoder(feature)
            case _:
                return lambda vectors: np.asarray(vectors, dtype=np.float32)

    def _category_encoder(self, feature: Feature) -> Encode:
        buckets = feature.encode.buckets
        if buckets is not None:
            return lambda values: hashed(values, buckets)
        return self.vocabularies[feature.vocabulary or feature.name].encode

    def _cyclic_encoder(self, feature: Feature) -> Encode:
        if feature.origin != "derived":
            return lambda values: on_circle(np.asarray(values, dtype=np.float64), feature.encode.period or 1)
        is_hour = feature.column_name == TIME_OF_DAY
        part, period = (self.calendar.hour, _HOURS) if is_hour else (self.calendar.weekday, _WEEKDAYS)

        def encode(times: Values) -> FloatArray:
            seconds = np.asarray(times)
            if seconds.dtype.kind != "f":
                return on_circle(part(seconds), period)
            missing = np.isnan(seconds)
            return on_circle(np.where(missing, np.nan, part(np.where(missing, 0, seconds))), period)

        return encode


def vocabulary_names(schema: FeatureSchema) -> tuple[str, ...]:
    """Names of the vocabularies of a schema: of its features, and of the item ids where it has item features."""
    names = [feature.name for feature in schema.features if feature.vocabulary == feature.name]
    return (*names, c.ITEM_ID) if schema.of(Side.ITEM) else tuple(names)


def _source_of(feature: Feature) -> str:
    is_time = feature.origin == "derived" and feature.kind is FeatureKind.CYCLIC
    return c.TIMESTAMP if is_time else feature.column_name
