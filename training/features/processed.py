"""The processed run: what preprocessing writes and every later job opens.

processed.json          ProcessedInfo: fingerprint, days, counts, missing columns
transforms.json         FittedTransforms
users.parquet           all users: user_id, age, gender, and the shop's own columns
items.parquet           the catalogue in ItemRow order, columns of contracts.columns.ITEMS, null where missing, and the
                        shop's own
subjects/part-P.parquet  a row a subject of partition P: subject_id, user_row (-1 = session), age, gender, num_events
events/part-P.parquet    its events, sorted by (subject, timestamp, event_id): item_row, timestamp, day, device_type,
                         top_category, top_category_long (codes), positive, seen, the masks, label, event_id, and the
                         shop's own columns of interactions
report.json             rows kept out and why, with examples; empty days
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from contracts import columns as c
from contracts.catalogue import ItemFeatures
from contracts.config import StrictConfig, validate
from contracts.errors import ConfigError, DataError
from contracts.features import ITEM_CATEGORICALS, ITEM_GENDER
from contracts.ids import BoolArray, FloatArray, IntArray, LongArray
from contracts.transforms import FittedTransforms
from training.features.encode import ITEM_ROW, USER_ROW
from training.features.events import EventTable
from training.features.launches import launch_times
from training.features.partition import EVENTS_DIR, NUM_EVENTS, SUBJECTS_DIR
from training.subjects import name_subjects

INFO: Final = "processed.json"
TRANSFORMS: Final = "transforms.json"
ITEMS: Final = "items.parquet"
USERS: Final = "users.parquet"
REPORT: Final = "report.json"

EVENT_COLUMNS: Final = (
    ITEM_ROW,
    c.TIMESTAMP,
    c.DAY,
    c.DEVICE_TYPE,
    c.TOP_CATEGORY,
    c.TOP_CATEGORY_LONG,
    "positive",
    "seen",
    "mask",
    "mask_device",
    "mask_item",
)


class ProcessedInfo(StrictConfig):
    """What a processed run is; days are shop-local days since 1970-01-01 and all ends are inclusive."""

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
    """Last test day; nothing later was read."""
    counts: dict[str, int]
    """Events, subjects, users, items, positives, training positives, seen events."""
    kept_out: dict[str, int]
    """Interactions that were kept out, by reason; reasons that did not occur are left out."""
    missing: tuple[str, ...]
    """Optional columns that the shop does not have, as `table.column`: their features are out."""
    has_labels: bool
    """Whether the interactions carry labels."""


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
        return FittedTransforms.from_json((self.path / TRANSFORMS).read_text(encoding="utf-8"))

    @cached_property
    def items(self) -> pa.Table:
        """The catalogue in ItemRow order."""
        return pq.read_table(self.path / ITEMS)

    @cached_property
    def item_encoded_id(self) -> IntArray:
        """[I] int32 encoded item ids; 0 for items without a training positive."""
        return self.transforms.encode(c.ITEM_ID, self.items[c.ITEM_ID].to_pylist())

    @cached_property
    def item_category(self) -> IntArray:
        """[I] int32 codes of category_l1; 0 = none."""
        return self.transforms.encode(c.CATEGORY_L1, self.items[c.CATEGORY_L1].to_pylist())

    @cached_property
    def launched_at(self) -> LongArray:
        """[I] int64 Unix seconds; 0 = always there."""
        return launch_times(self.items)

    def item_features(self, text: FloatArray, image: FloatArray) -> ItemFeatures:
        """The item side of the model inputs, with the given embeddings [I, D]."""
        sources = {c.CATEGORY_L1: c.CATEGORY_L1, c.CATEGORY_L2: c.CATEGORY_L2, ITEM_GENDER: c.GENDER}
        codes = [self.transforms.encode(name, self.items[sources[name]].to_pylist()) for name in ITEM_CATEGORICALS]
        prices = self.transforms.price(self.items[c.PRICE].to_numpy())
        return ItemFeatures(np.stack(codes, axis=1), prices[:, None], text, image, self.launched_at)

    def events(self, partitions: Sequence[int] | None = None) -> EventTable:
        """The events of some partitions, or of all, one after the other.

        Raises:
            DataError: there is no such partition.
        """
        events = self._read(EVENTS_DIR, partitions, [*EVENT_COLUMNS, *([c.LABEL] if self.info.has_labels else [])])
        subjects = self._read(SUBJECTS_DIR, partitions, [c.SUBJECT_ID, USER_ROW, c.AGE, c.GENDER, NUM_EVENTS])
        num_events = subjects[NUM_EVENTS].to_numpy()
        arrays = {name: events[name].to_numpy() for name in EVENT_COLUMNS if name != c.DEVICE_TYPE}
        return EventTable(
            subject_ids=subjects[c.SUBJECT_ID].to_numpy(),
            offsets=np.concatenate([[0], np.cumsum(num_events)]),
            user_code=self._user_codes(subjects),
            gender_code=self._codes(c.GENDER, subjects[c.GENDER]),
            age=subjects[c.AGE].to_numpy(),
            subject=np.repeat(np.arange(len(subjects), dtype=np.int32), num_events),
            device_code=self._codes(c.DEVICE_TYPE, events[c.DEVICE_TYPE]),
            label=events[c.LABEL].to_numpy() if self.info.has_labels else None,
            **arrays,
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
        """Names of the subjects [S] of `events`, as `contracts.ids` names them."""
        rows = self._read(SUBJECTS_DIR, partitions, [c.SUBJECT_ID, USER_ROW])
        return name_subjects(rows[c.SUBJECT_ID], rows[USER_ROW].to_numpy() >= 0)

    def _user_codes(self, subjects: pa.Table) -> IntArray:
        codes = self.transforms.encode(c.USER_ID, subjects[c.SUBJECT_ID].to_pylist())
        return np.where(subjects[USER_ROW].to_numpy() >= 0, codes, 0).astype(np.int32)

    def _codes(self, feature: str, values: pa.ChunkedArray) -> IntArray:
        """Encodes a column of few distinct strings by its dictionary."""
        encoded = values.combine_chunks() if pa.types.is_dictionary(values.type) else values.dictionary_encode()
        encoded = encoded.unify_dictionaries().combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
        codes = np.append(self.transforms.encode(feature, encoded.dictionary.to_pylist()), np.int32(0))
        found: IntArray = codes[encoded.indices.fill_null(len(codes) - 1).to_numpy()]
        return found

    def _read(self, folder: str, partitions: Sequence[int] | None, columns: list[str]) -> pa.Table:
        wanted = range(self.num_partitions) if partitions is None else partitions
        unknown = [number for number in wanted if not 0 <= number < self.num_partitions]
        if unknown or not len(wanted):
            raise DataError(f"partitions {list(wanted)} of {self.path}, expected some of 0 … {self.num_partitions - 1}")
        parts = [pq.read_table(self.path / folder / self._parts[number], columns=columns) for number in wanted]
        return pa.concat_tables(parts).unify_dictionaries().combine_chunks()


def open_processed(path: Path) -> Processed:
    """Opens a processed run.

    Raises:
        DataError: the folder holds none, or one of another layout.
    """
    file = Path(path) / INFO
    if not file.is_file():
        raise DataError(f"no {INFO} in {path}; expected the folder of a processed run, run the preprocess job first")
    try:
        info = validate(ProcessedInfo, json.loads(file.read_text(encoding="utf-8")), source=str(file))
    except (json.JSONDecodeError, ConfigError) as error:
        raise DataError(f"{file} is of another version; run the preprocess job again ({error})") from error
    return Processed(Path(path), info)
