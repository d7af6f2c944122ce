"""Fitted feature transforms, saved with the schema and applied by the same NumPy code offline and online."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

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


_Step = Callable[[Mapping[str, Values], int], AnyArray]
"""Encodes one feature of n rows, from raw values by column and n; absent columns are missing values."""
_Plan = tuple[list[_Step], list[_Step], list[_Step], list[_Step]]


class _Fitted(StrictConfig):
    """Content of the file `TRANSFORMS`."""

    timezone: str
    """Time zone of the shop, IANA."""
    numbers: dict[str, NumberFit]
    """Statistics by numeric feature."""


@dataclass(frozen=True)
class FittedTransforms:
    """Turns raw values into model inputs.

    Args:
        schema: the features.
        vocabularies: by feature that owns one, and that of the item ids; empty for columns that the shop lacks.
        numbers: statistics by numeric feature.
        timezone: of the shop, IANA.

    Raises:
        ValueError: the vocabularies or numbers do not fit the schema.
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
        for name, fit in self.numbers.items():
            within = self.schema[name].encode.within
            rows = 0 if within is None else self.cardinality(within)
            if not len(fit.means) == len(fit.stds) == rows:
                raise ValueError(
                    f"{name} has {len(fit.means)} means and {len(fit.stds)} standard deviations of categories; "
                    f"expected {rows} of each, since within={within}"
                )
        ShopCalendar(self.timezone)  # refuses an unknown time zone

    @cached_property
    def calendar(self) -> ShopCalendar:
        """Calendar of the shop."""
        return ShopCalendar(self.timezone)

    def cardinality(self, name: str) -> int:
        """Rows of the embedding table of a categorical feature or of `item_id`, including the OOV row."""
        if name == c.ITEM_ID:
            return self.vocabularies[name].cardinality
        feature = self.schema[name]
        if feature.kind is FeatureKind.NUMERIC:
            return len(self.numbers[name].edges) + 2
        return category_encoder(feature, self.vocabularies)[1]

    def encode(self, name: str, values: Values) -> AnyArray:
        """Encodes one feature, or raw item ids for the name `item_id`; see `EncodedColumns` for the shapes.

        Nothing is known of other columns: numbers that are standardised within a category count as having none.
        """
        return self.vocabularies[name].encode(values) if name == c.ITEM_ID else self._encoders[name](values)

    def columns(self, features: Sequence[Feature], values: Mapping[str, Values], size: int) -> EncodedColumns:
        """Encodes some features of one side.

        Args:
            features: in the order of the result.
            values: raw values by column, with `timestamp` for hour and weekday; absent columns are missing values.
            size: number of rows n.
        """
        return self._encoded(self._plan(features), values, size)

    def side(self, side: Side, values: Mapping[str, Values], size: int) -> EncodedColumns:
        """Encodes all features of a side; as `columns`."""
        return self._encoded(self._plans[side], values, size)

    def _encoded(self, plan: _Plan, values: Mapping[str, Values], size: int) -> EncodedColumns:
        codes, numbers, lists, vectors = ([step(values, size) for step in steps] for steps in plan)
        stacked = np.stack(codes, axis=1) if codes else np.zeros((size, 0), dtype=np.int32)
        side_by_side = np.concatenate(numbers, axis=1) if numbers else np.zeros((size, 0), dtype=np.float32)
        return EncodedColumns(self.schema.digest, stacked, side_by_side, tuple(lists), tuple(vectors))

    def _plan(self, features: Sequence[Feature]) -> _Plan:
        """Encodings of features, grouped by result: codes, numbers, lists and vectors."""
        plan: _Plan = ([], [], [], [])
        for one in features:
            if one.kind is not FeatureKind.LABEL:
                place = 0 if one.codes else 1 if one.numbers else 2 if one.kind is FeatureKind.CATEGORIES else 3
                plan[place].append(self._step(one))
        return plan

    def _step(self, feature: Feature) -> _Step:
        source, within = _source_of(feature), feature.encode.within

        def raw(values: Mapping[str, Values], size: int) -> Values:
            given = values.get(source)
            return nothing(feature, size) if given is None else given

        if within is None:
            encode = self._encoders[feature.name]
            return lambda values, size: encode(raw(values, size))
        category, number = self._step(self.schema[within]), NumberEncoder(feature, self.numbers[feature.name])
        return lambda values, size: number(raw(values, size), category(values, size))

    @cached_property
    def _plans(self) -> dict[Side, _Plan]:
        return {side: self._plan(self.schema.of(side)) for side in Side}

    def without(self, columns: EncodedColumns, features: Sequence[Feature], rows: BoolArray) -> EncodedColumns:
        """Replaces some features of some rows by missing values.

        Args:
            columns: of one side, [n].
            features: of that side, to hide.
            rows: rows to change, [n].
        """
        places = np.flatnonzero(rows)
        if len(places) == 0 or not features:
            return columns
        layout, unknown = self.schema.layout(features[0].side), self.columns(features, {}, 1)
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
        """Opens what `save` wrote; it may come from outside.

        Raises:
            ValueError: a file is damaged, or the files do not fit each other.
            ConfigError: the time zone is unknown.
            OSError: a file is missing.
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
                return category_encoder(feature, self.vocabularies)[0]
            case FeatureKind.CATEGORIES:
                return ListEncoder(category_encoder(feature, self.vocabularies)[0], feature.encode.max_length)
            case FeatureKind.NUMERIC:
                return NumberEncoder(feature, self.numbers[feature.name])
            case FeatureKind.CYCLIC:
                return self._cyclic_encoder(feature)
            case _:
                return lambda vectors: np.asarray(vectors, dtype=np.float32)

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


def category_encoder(feature: Feature, vocabularies: Mapping[str, Vocabulary]) -> tuple[Encode, int]:
    """The encoder of the categories of a feature, and the rows of their embedding table, including the OOV row."""
    buckets = feature.encode.buckets
    if buckets is not None:
        return lambda values: hashed(values, buckets), buckets + 1
    vocabulary = vocabularies[feature.vocabulary or feature.name]
    return vocabulary.encode, vocabulary.cardinality


def vocabulary_names(schema: FeatureSchema) -> tuple[str, ...]:
    """Names of the vocabularies of a schema: those of features, and `item_id` if there are item features."""
    names = [feature.name for feature in schema.features if feature.vocabulary == feature.name]
    return (*names, c.ITEM_ID) if schema.of(Side.ITEM) else tuple(names)


def _source_of(feature: Feature) -> str:
    is_time = feature.origin == "derived" and feature.kind is FeatureKind.CYCLIC
    return c.TIMESTAMP if is_time else feature.column_name
