"""Writes what training reads later: accepted events, served values and tombstones, as Parquet files by day.

A file is named by its content and appears in one step: a batch that is written again replaces its file. The same
rows in batches that were cut differently are told apart by their ids; compaction and preprocessing keep one of each.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contracts import columns as c
from contracts import records as r
from contracts.clock import ShopCalendar, day_to_name
from contracts.columns import Kind, TableSchema
from contracts.errors import DataError
from contracts.files import atomic_file
from contracts.interactions import Erasure, Interaction
from serving.stores.top_category import ServedValue

LAST_TIMESTAMP: Final = 253_402_128_000
"""First second of 9999-12-30: days of later times have no name."""
_TYPES: Final = {Kind.STRING: pa.string(), Kind.INT: pa.int64()}
_COPIED: Final = tuple(name for name in r.INTERACTIONS.names if name not in (r.ACCEPTED_MS, r.LATE_S))

Row = Mapping[str, Any]


class RecordWriter:
    """Writes the records of one shop.

    Args:
        folder: of the shop's records.
        calendar: of the shop; days are local to it.
    """

    def __init__(self, folder: Path, calendar: ShopCalendar) -> None:
        self._folder = folder
        self._calendar = calendar

    def interactions(self, events: Sequence[tuple[Interaction, int]]) -> None:
        """Writes accepted events, each with the milliseconds of its acceptance.

        Raises:
            OSError: the folder cannot be written.
        """
        rows = [
            {
                **{name: getattr(event, name) for name in _COPIED},
                r.ACCEPTED_MS: accepted_ms,
                r.LATE_S: event.accepted_at - event.timestamp,
            }
            for event, accepted_ms in events
        ]
        self._write_days(r.INTERACTIONS, rows, [event.timestamp for event, _ in events])

    def served(self, values: Sequence[tuple[ServedValue, int]]) -> None:
        """Writes values, each with the milliseconds since when it is served; raises as above."""
        rows = [
            {
                c.USER_ID: value.user_id,
                c.TOP_CATEGORY: value.top_category,
                r.EVENT_TIMESTAMP: value.event_timestamp,
                r.SERVED_MS: served_ms,
            }
            for value, served_ms in values
        ]
        self._write_days(r.USER_ACTIVITY, rows, [served_ms // 1000 for _, served_ms in values])

    def snapshot(self, rows: pa.Table) -> None:
        """Writes what was online of all users at one time, in the columns of `SNAPSHOTS`; raises as above."""
        for served_ms in rows[r.SERVED_MS][:1].to_pylist():
            day = int(self._calendar.day(np.array([served_ms // 1000]))[0])
            _write_table(self._folder_of(r.SNAPSHOTS, day), rows, str(served_ms))

    def tombstones(self, erasures: Iterable[Erasure]) -> None:
        """Writes erased users; raises as above."""
        rows = [{c.USER_ID: erasure.user_id, r.ERASED_AT: erasure.erased_at} for erasure in erasures]
        if rows:
            _write(self._folder / r.TOMBSTONES.name, r.TOMBSTONES, rows)

    def _write_days(self, schema: TableSchema, rows: Sequence[Row], times: Sequence[int]) -> None:
        of_day: defaultdict[int, list[Row]] = defaultdict(list)
        for row, day in zip(rows, self._calendar.day(np.array(times, dtype=np.int64)).tolist(), strict=True):
            of_day[day].append(row)
        for day, some in of_day.items():
            _write(self._folder_of(schema, day), schema, some)

    def _folder_of(self, schema: TableSchema, day: int) -> Path:
        return self._folder / schema.name / f"{c.DAY}={day_to_name(day)}"


def check_timestamp(timestamp: int) -> None:
    """Raises DataError for a time that has no day."""
    if not 0 <= timestamp < LAST_TIMESTAMP:
        raise DataError(f"timestamp {timestamp} is no time in Unix seconds; expected 0 … {LAST_TIMESTAMP - 1}")


def _write(folder: Path, schema: TableSchema, rows: Sequence[Row]) -> None:
    types = pa.schema([(column.name, _TYPES[column.kind]) for column in schema.columns])
    table = pa.Table.from_pylist(list(rows), schema=types)
    digest = hashlib.sha256(repr([tuple(row.values()) for row in rows]).encode()).hexdigest()
    _write_table(folder, table, digest[:24])


def _write_table(folder: Path, table: pa.Table, name: str) -> None:
    with atomic_file(folder / f"part-{name}.parquet", durable=True) as temporary:  # the stream forgets these rows next
        pq.write_table(table, temporary)
