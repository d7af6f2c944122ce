"""What serving recorded, as preprocessing and compaction read it; layout in `contracts.records`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts import columns as c
from contracts import records as r
from contracts.columns import TableSchema
from contracts.ids import IntArray, LongArray
from contracts.vocabulary import Vocabulary
from training.tables import ARROW_TYPES, RawTable, find_table, read_files


def find_records(folder: Path | None, schema: TableSchema) -> RawTable | None:
    """A recorded table, None where nothing was recorded.

    Args:
        folder: of the shop's records; None = there is none.
        schema: the table.

    Raises:
        DataError: a file cannot be read.
        SchemaError: a file lacks a column or has one of a wrong type.
    """
    if folder is None or not any((folder / schema.name).rglob("[!._]*.parquet")):
        return None
    return find_table(folder, schema)


def read_records(folder: Path | None, schema: TableSchema) -> pa.Table:
    """All rows of a recorded table; raises as above."""
    found = find_records(folder, schema)
    if found is None:
        return pa.table({column.name: pa.array([], ARROW_TYPES[column.kind]) for column in schema.columns})
    return read_files(found)


def erasures(folder: Path | None) -> dict[str, int]:
    """When users were erased for the last time, Unix seconds, by raw id."""
    last = read_records(folder, r.TOMBSTONES).group_by(c.USER_ID).aggregate([(r.ERASED_AT, "max")])
    return dict(zip(last[c.USER_ID].to_pylist(), last[f"{r.ERASED_AT}_max"].to_pylist(), strict=True))


def erased_users(folder: Path | None) -> pa.Array:
    """Raw ids of the users that were erased, sorted: no row of theirs is used."""
    return pa.array(sorted(erasures(folder)), pa.string())


@dataclass(frozen=True)
class ServedValues:
    """Every value of `top_category` that serving wrote, in order of user and time; R rows.

    Attributes:
        user_row: [R] int32.
        served_ms: [R] int64, since when.
        code: [R] int32 category codes, 0 = none.
    """

    user_row: IntArray
    served_ms: LongArray
    code: IntArray

    @classmethod
    def read(cls, folder: Path | None, user_ids: Sequence[str], categories: Vocabulary) -> ServedValues:
        """The recorded values of known users.

        Args:
            folder: of the shop's records.
            user_ids: raw ids by user row.
            categories: codes of category_l1.
        """
        table = read_records(folder, r.USER_ACTIVITY)
        rows = pc.index_in(table[c.USER_ID], value_set=pa.array(user_ids, pa.string()))
        known = rows.is_valid()
        table = table.filter(known)
        user_row = rows.filter(known).to_numpy().astype(np.int32)
        served_ms = table[r.SERVED_MS].to_numpy()
        order = np.lexsort((served_ms, user_row))
        codes = categories.encode(table[c.TOP_CATEGORY].to_pylist())
        return cls(user_row[order], served_ms[order], codes[order])

    def as_of(self, user_row: IntArray, accepted_ms: LongArray) -> IntArray:
        """What was served to users [Q] just before times [Q], on the clock of `served_ms`.

        Returns:
            [Q] codes, -1 where serving had written nothing yet.
        """
        if len(self.user_row) == 0:
            return np.full(len(user_row), -1, dtype=np.int32)
        first, last = int(self.served_ms.min()), int(self.served_ms.max())
        stride = last - first + 2
        keys = self.user_row.astype(np.int64) * stride + self.served_ms - first
        wanted = user_row.astype(np.int64) * stride + np.clip(accepted_ms - first, 0, stride - 1)
        place = np.searchsorted(keys, wanted, side="left") - 1
        found = (place >= 0) & (self.user_row[np.maximum(place, 0)] == user_row)
        return np.where(found, self.code[np.maximum(place, 0)], -1).astype(np.int32)
