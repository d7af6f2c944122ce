"""The processed run: what preprocessing writes and every later job opens.

processed.json          ProcessedInfo: fingerprint, days, counts, missing columns
schema.json, transforms.json, vocabularies/   FittedTransforms
users.parquet           all users: user_id, age, gender, declared columns
items.parquet           the catalogue in ItemRow order: contracts.columns.ITEMS, null where missing, declared columns
subjects/part-P.parquet  a row a subject of partition P: subject_id, user_row (-1 = session), columns of the user,
                         num_events
events/part-P.parquet    its events, sorted by (subject, timestamp, event_id): item_row, timestamp, day, columns of the
                         context, top_category, top_category_long (codes), positive, seen, the masks, label, event_id
report.json             rows kept out and why, with examples; empty days
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from contracts import columns as c
from contracts.catalogue import ItemFeatures
from contracts.config import StrictConfig, validate
from contracts.encoded import EncodedColumns
from contracts.encoders import Values
from contracts.errors import ConfigError, DataError
from contracts.feature import Feature, FeatureKind, Side
from contracts.features import USER_ACTIVITY
from contracts.ids import BoolArray, FloatArray, IntArray, LongArray
from contracts.item_values import Categories, ItemValues
from contracts.schema import FeatureSchema, SideLayout
from contracts.transforms import FittedTransforms
from contracts.vocabulary import Vocabulary
from training.features.encode import ITEM_ROW, USER_ROW
from training.features.events import EventTable, context_of, profile_of
from training.features.fit import fit_category
from training.features.launches import launch_times
from training.features.partition import EVENTS_DIR, NUM_EVENTS, SUBJECTS_DIR
from training.subjects import name_subjects

INFO: Final = "processed.json"
ITEMS: Final = "items.parquet"
USERS: Final = "users.parquet"
REPORT: Final = "report.json"

_EVENT_ARRAYS: Final = (ITEM_ROW, c.TIMESTAMP, c.DAY, "positive", "seen", "mask", "mask_device", "mask_item")
_CODED: Final = tuple(field.name for field in USER_ACTIVITY.fields)
"""Features derived while partitions are written, as codes of `Processed.categories`."""
EVENT_COLUMNS: Final = (*_EVENT_ARRAYS, c.DEVICE_TYPE, *_CODED)
"""Columns of events of every shop."""


class ProcessedInfo(StrictConfig):
    """Facts of a processed run; days are shop-local days since 1970-01-01, and all ends are inclusive."""

    fingerprint: str
    """SHA-256 of the config and of every raw file that was read."""
    shop: str
    """The shop's name."""
    raw_dir: str
    """Folder of the raw tables; relative picture paths start there."""
    timezone: str
    """The shop's, IANA."""
    first_day: int
    """First training day."""
    train_end_day: int
    """Last training day."""
    validation_day: int
    """First validation day."""
    validation_end_day: int
    """Last validation day."""
    test_day: int
    """First test day."""
    last_day: int
    """Last test day; later days were not read."""
    counts: dict[str, int]
    """Events, subjects, users, items, positives, training positives, seen events."""
    kept_out: dict[str, int]
    """Interactions that were kept out, by reason; only reasons that occurred."""
    missing: tuple[str, ...]
    """Optional columns that the shop lacks, as `table.column`; their features are not used."""
    has_labels: bool
    """Whether the interactions carry labels."""
    seen_events: tuple[c.EventName, ...]
    """Events that mark their item as seen."""


class Processed:
    """An opened processed run."""

    def __init__(self, path: Path, info: ProcessedInfo) -> None:
        self.path = path
        self.info = info
        self._parts = sorted(part.name for part in (path / EVENTS_DIR).glob("part-*.parquet"))

    @property
    def num_partitions(self) -> int:
        return len(self._parts)

    @property
    def num_items(self) -> int:
        return len(self.items)

    @cached_property
    def transforms(self) -> FittedTransforms:
        return FittedTransforms.open(self.path)

    @property
    def schema(self) -> FeatureSchema:
        return self.transforms.schema

    @cached_property
    def items(self) -> pa.Table:
        """The catalogue in ItemRow order."""
        return pq.read_table(self.path / ITEMS)

    @cached_property
    def item_encoded_id(self) -> IntArray:
        """[I] int32 encoded item ids; 0 for items without a positive up to the last validation day."""
        return self.transforms.encode(c.ITEM_ID, self.items[c.ITEM_ID].to_pylist())

    @cached_property
    def categories(self) -> Vocabulary:
        """Every category_l1 of the catalogue, independent of the schema."""
        return fit_category(self.items)

    @cached_property
    def item_category(self) -> IntArray:
        """[I] int32 codes of category_l1 among `categories`; 0 = none."""
        return self.categories.encode(self.items[c.CATEGORY_L1].to_pylist())

    @cached_property
    def launched_at(self) -> LongArray:
        """[I] int64 Unix seconds; 0 = always there."""
        return launch_times(self.items)

    def item_features(self, text: FloatArray, image: FloatArray) -> ItemFeatures:
        """The item side of the model inputs, with the given embeddings [I, D]."""
        values: dict[str, Values] = {"text": text, "image": image}
        for feature in self.schema.read_from("items"):
            values[feature.column_name] = raw_values(self.items[feature.column_name], feature)
        columns = self.transforms.side(Side.ITEM, values, len(self.items))
        return ItemFeatures(columns, self.launched_at)

    def item_values(self) -> ItemValues:
        """Raw values of the items that filters compare or answers show."""
        return {
            feature.column_name: numbers_of(self.items[feature.column_name])
            if feature.kind is FeatureKind.NUMERIC
            else (Categories.of_values if feature.kind is FeatureKind.CATEGORICAL else Categories.of_lists)(
                self.items[feature.column_name].to_pylist()
            )
            for feature in self.schema.shown
        }

    def events(self, partitions: Sequence[int] | None = None) -> EventTable:
        """The events of some partitions, or of all.

        Raises:
            DataError: there is no such partition.
        """
        profile, context = profile_of(self.schema), context_of(self.schema)
        of_users = [one.column_name for one in self.schema.read_from("users") if one.column_name != c.USER_ID]
        of_context = [one.column_name for one in self.schema.read_from("context")]
        derived = [one.column_name for one in self.schema.read_from("derived") if one.column_name in _CODED]
        labels = [c.LABEL] if self.info.has_labels else []
        events = self._read(EVENTS_DIR, partitions, [*_EVENT_ARRAYS, *of_context, *derived, *labels])
        subjects = self._read(SUBJECTS_DIR, partitions, [c.SUBJECT_ID, USER_ROW, *of_users, NUM_EVENTS])
        num_events = subjects[NUM_EVENTS].to_numpy()
        subjects = subjects.append_column(c.USER_ID, _user_ids(subjects))
        return EventTable(
            subject_ids=subjects[c.SUBJECT_ID].to_numpy(),
            offsets=np.concatenate([[0], np.cumsum(num_events)]),
            profile=self._encoded(profile, subjects),
            profile_names=SideLayout.of(profile),
            subject=np.repeat(np.arange(len(subjects), dtype=np.int32), num_events),
            context=self._encoded(context, events),
            context_names=SideLayout.of(context),
            label=events[c.LABEL].to_numpy() if self.info.has_labels else None,
            **{name: events[name].to_numpy() for name in _EVENT_ARRAYS},
        )

    def event_ids(self, partitions: Sequence[int] | None = None) -> NDArray[np.object_]:
        """Event ids [E] in the order of `events`."""
        ids: NDArray[np.object_] = self._read(EVENTS_DIR, partitions, [c.EVENT_ID])[c.EVENT_ID].to_numpy()
        return ids

    def is_user(self, partitions: Sequence[int] | None = None) -> BoolArray:
        """Whether each subject [S] of `events` is a user; the others are sessions without one."""
        user: BoolArray = self._read(SUBJECTS_DIR, partitions, [USER_ROW])[USER_ROW].to_numpy() >= 0
        return user

    def subjects(self, partitions: Sequence[int] | None = None) -> pa.ChunkedArray:
        """Names of the subjects [S] of `events`, see `contracts.ids`."""
        rows = self._read(SUBJECTS_DIR, partitions, [c.SUBJECT_ID, USER_ROW])
        return name_subjects(rows[c.SUBJECT_ID], rows[USER_ROW].to_numpy() >= 0)

    def _encoded(self, features: Sequence[Feature], table: pa.Table) -> EncodedColumns:
        """Model inputs of some query features; looks up each distinct category once."""
        codes = [self._codes(one, table[one.column_name]) for one in features if one.codes]
        others = [one for one in features if not one.codes]
        values = {one.column_name: raw_values(table[one.column_name], one) for one in others}
        encoded = self.transforms.columns(others, values, len(table))
        stacked = np.stack(codes, axis=1) if codes else encoded.codes
        return replace(encoded, codes=stacked.astype(np.int32, copy=False))

    def _codes(self, feature: Feature, values: pa.ChunkedArray) -> IntArray:
        """Encoded ids of a column, of its dictionary where it holds strings."""
        if feature.origin == "derived":
            of_code: IntArray = self.transforms.encode(feature.name, (None, *self.categories.tokens))
            return np.asarray(of_code[values.to_numpy()])
        if feature.kind is FeatureKind.NUMERIC:
            return self.transforms.encode(feature.name, numbers_of(values))
        encoded = values.combine_chunks() if pa.types.is_dictionary(values.type) else values.dictionary_encode()
        encoded = encoded.unify_dictionaries().combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
        codes = np.append(self.transforms.encode(feature.name, encoded.dictionary.to_pylist()), np.int32(0))
        found: IntArray = codes[encoded.indices.fill_null(len(codes) - 1).to_numpy()]
        return found

    def _read(self, folder: str, partitions: Sequence[int] | None, columns: list[str]) -> pa.Table:
        wanted = range(self.num_partitions) if partitions is None else partitions
        unknown = [number for number in wanted if not 0 <= number < self.num_partitions]
        if unknown or not len(wanted):
            raise DataError(f"partitions {list(wanted)} of {self.path}, expected some of 0 … {self.num_partitions - 1}")
        parts = [pq.read_table(self.path / folder / self._parts[number], columns=columns) for number in wanted]
        return pa.concat_tables(parts).unify_dictionaries().combine_chunks()


def numbers_of(values: pa.ChunkedArray) -> NDArray[np.float64]:
    """Numbers [n] float64; NaN = missing."""
    numbers: NDArray[np.float64] = values.cast(pa.float64()).fill_null(float("nan")).to_numpy()
    return numbers


def raw_values(values: pa.ChunkedArray, feature: Feature) -> Values:
    """A column of a table in the form that transforms read."""
    if feature.kind in (FeatureKind.NUMERIC, FeatureKind.CYCLIC):
        return numbers_of(values)
    if feature.kind is FeatureKind.VECTOR:
        flat = values.combine_chunks().fill_null([0.0] * (feature.length or 0)).flatten()
        return np.asarray(flat.to_numpy(zero_copy_only=False), dtype=np.float32).reshape(
            len(values), feature.length or 0
        )
    listed: list[str | None] = values.to_pylist()
    return listed


def _user_ids(subjects: pa.Table) -> pa.Array:
    """Raw ids of the subjects that are users, null for sessions."""
    is_user = pa.array(subjects[USER_ROW].to_numpy() >= 0)
    return pc.if_else(is_user, subjects[c.SUBJECT_ID], pa.scalar(None, pa.string()))


def open_processed(path: Path) -> Processed:
    """Opens a processed run.

    Raises:
        DataError: the folder holds no run, or one of another layout.
    """
    file = Path(path) / INFO
    if not file.is_file():
        raise DataError(f"no {INFO} in {path}; expected the folder of a processed run, run the preprocess job first")
    try:
        info = validate(ProcessedInfo, json.loads(file.read_text(encoding="utf-8")), source=str(file))
    except (json.JSONDecodeError, ConfigError) as error:
        raise DataError(f"{file} is of another version; run the preprocess job again ({error})") from error
    return Processed(Path(path), info)
