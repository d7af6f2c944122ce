"""What serving recorded, as preprocessing and compaction read it; layout in `contracts.records`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts import columns as c
from contracts import records as r
from contracts.columns import TableSchema
from contracts.features import USER_ACTIVITY
from contracts.ids import IntArray, LongArray
from contracts.vocabulary import Vocabulary
from training.subjects import subjects_of
from training.tables import RawTable, empty_table, find_table, read_files


def find_records(folder: Path | None, schema: TableSchema) -> RawTable | None:
    """A recorded table, None where nothing was recorded.

    Args:
        folder: of the shop's records; None = there is none.
        schema: the table. Records may be older than its declared columns: any file may lack them.

    Raises:
        DataError: a file cannot be read.
        SchemaError: a file lacks a column or has one of a wrong type.
    """
    if folder is None or not any((folder / schema.name).rglob("[!._]*.parquet")):
        return None
    columns = tuple(column.optional() if column.declared else column for column in schema.columns)
    return find_table(folder, replace(schema, columns=columns))


def read_records(folder: Path | None, schema: TableSchema) -> pa.Table:
    """All rows of a recorded table; raises as above."""
    found = find_records(folder, schema)
    if found is None:
        return empty_table(schema)
    return read_files(found)


def accepted_events(folder: Path | None, first_day: int) -> pa.Table:
    """Recorded interactions of shop-local days from one on, with the names of their subjects (`contracts.ids`).

    Returns:
        subject_id, item_id, timestamp, event, event_id, accepted_ms; repeats are kept. Raises as above.
    """
    columns = [c.ITEM_ID, c.TIMESTAMP, c.EVENT, c.EVENT_ID, r.ACCEPTED_MS]
    found = find_records(folder, r.INTERACTIONS)
    if found is None:
        return pa.table({name: [] for name in (c.SUBJECT_ID, *columns)})
    rows = read_files(found.of_days([day for day in found.days if day >= first_day]))
    return rows.select(columns).append_column(c.SUBJECT_ID, subjects_of(rows))


def erasures(folder: Path | None) -> dict[str, int]:
    """When users were erased for the last time, Unix seconds, by raw id."""
    last = read_records(folder, r.TOMBSTONES).group_by(c.USER_ID).aggregate([(r.ERASED_AT, "max")])
    return dict(zip(last[c.USER_ID].to_pylist(), last[f"{r.ERASED_AT}_max"].to_pylist(), strict=True))


def erased_users(folder: Path | None) -> pa.Array:
    """Raw ids of erased users, sorted; their rows must not be used."""
    return pa.array(sorted(erasures(folder)), pa.string())


@dataclass(frozen=True)
class ValueLog:
    """Values of users and the time since which they were served, in order of user and time; R rows.

    Attributes:
        user_row: [R] int32.
        served_ms: [R] int64.
        code: [R] int32 category codes, 0 = none.
    """

    user_row: IntArray
    served_ms: LongArray
    code: IntArray

    @classmethod
    def of(cls, user_row: IntArray, served_ms: LongArray, code: IntArray) -> ValueLog:
        """A log of rows in any order; the last of several rows of one millisecond counts."""
        order = np.lexsort((served_ms, user_row))
        return cls(user_row[order], served_ms[order], code[order])

    def as_of(self, user_row: IntArray, time_ms: LongArray, not_before: LongArray) -> IntArray:
        """Each user's newest value before `time_ms`, but not before `not_before`, [Q]; -1 = there is none."""
        if len(self.user_row) == 0:
            return np.full(len(user_row), -1, dtype=np.int32)
        first, last = int(self.served_ms.min()), int(self.served_ms.max())
        stride = last - first + 2
        keys = self.user_row.astype(np.int64) * stride + self.served_ms - first
        wanted = user_row.astype(np.int64) * stride + np.clip(time_ms - first, 0, stride - 1)
        place = np.searchsorted(keys, wanted, side="left") - 1
        row = np.maximum(place, 0)
        found = (place >= 0) & (self.user_row[row] == user_row) & (self.served_ms[row] >= not_before)
        return np.where(found, self.code[row], -1).astype(np.int32)


@dataclass(frozen=True)
class ServedValues:
    """Derived features of users, as written by serving.

    Attributes:
        logs: by name of a field of `USER_ACTIVITY`: values of snapshots, and what the consumer wrote between them.
        snapshots: [S] int64 ascending times of snapshots; users that a snapshot lacks had no value then.
    """

    logs: Mapping[str, ValueLog]
    snapshots: LongArray

    @classmethod
    def read(cls, folder: Path | None, user_ids: Sequence[str], categories: Vocabulary) -> ServedValues:
        """The recorded values of known users.

        Args:
            folder: of the shop's records.
            user_ids: raw ids by user row.
            categories: codes of category_l1.
        """
        snapshots, updates = read_records(folder, r.SNAPSHOTS), read_records(folder, r.USER_ACTIVITY)
        known = pa.array(user_ids, pa.string())
        logs = {}
        for name in (field.name for field in USER_ACTIVITY.fields):
            tables = [table for table in (snapshots, updates) if name in table.column_names]
            values = pa.concat_tables([table.select([c.USER_ID, name, r.SERVED_MS]) for table in tables])
            logs[name] = _log(values, name, known, categories)
        return cls(logs, np.unique(snapshots[r.SERVED_MS].to_numpy()))

    def as_of(self, user_row: IntArray, time_ms: LongArray) -> dict[str, IntArray]:
        """What was served to users [Q] just before times [Q], on the clock of `served_ms`.

        Returns:
            Codes [Q] by name; -1 where serving had written nothing yet.
        """
        number = np.searchsorted(self.snapshots, time_ms, side="left")
        since = np.concatenate([[0], self.snapshots])[number]
        missing = np.where(number > 0, 0, -1)
        found = {name: log.as_of(user_row, time_ms, since) for name, log in self.logs.items()}
        return {name: np.where(codes < 0, missing, codes).astype(np.int32) for name, codes in found.items()}


def _log(table: pa.Table, field: str, users: pa.Array, categories: Vocabulary) -> ValueLog:
    rows = pc.index_in(table[c.USER_ID], value_set=users)
    table, rows = table.filter(rows.is_valid()), rows.drop_null()
    codes = categories.encode(table[field].to_pylist())
    return ValueLog.of(rows.to_numpy().astype(np.int32), table[r.SERVED_MS].to_numpy(), codes)
