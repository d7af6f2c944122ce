"""Writes records for training: accepted events, served values and tombstones, as Parquet files by day.

A file is named by its content and written atomically, so a repeated batch replaces its file. If repeated rows come in
other batches, compaction and preprocessing recognise them by their ids and keep one of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contracts import columns as c
from contracts import records as r
from contracts.clock import ShopCalendar
from contracts.columns import TableSchema
from contracts.errors import DataError
from contracts.files import atomic_file
from contracts.interactions import Erasure, Interaction, context_text
from serving.interactions.day_files import arrow_schema, by_day, day_folder
from serving.stores.top_category import ServedValue

LAST_TIMESTAMP: Final = 253_402_128_000
"""First second of 9999-12-30; later days have no name."""
_COPIED: Final = tuple(name for name in r.INTERACTIONS.names if name not in (r.ACCEPTED_MS, r.LATE_S, r.CONTEXT))

Columns = dict[str, Sequence[object]]


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
        """Writes accepted events, each with its time of acceptance in Unix milliseconds.

        Raises:
            OSError: the folder cannot be written.
        """
        columns: Columns = {name: [getattr(event, name) for event, _ in events] for name in _COPIED}
        columns[r.ACCEPTED_MS] = [accepted_ms for _, accepted_ms in events]
        columns[r.LATE_S] = [event.accepted_at - event.timestamp for event, _ in events]
        columns[r.CONTEXT] = [context_text(event.context) for event, _ in events]
        self._write_days(r.INTERACTIONS, columns, [event.timestamp for event, _ in events])

    def served(self, values: Sequence[tuple[ServedValue, int]]) -> None:
        """Writes served values, each with its time of writing in Unix milliseconds; raises as above."""
        columns: Columns = {
            c.USER_ID: [value.user_id for value, _ in values],
            c.TOP_CATEGORY: [value.top_category for value, _ in values],
            c.EVENT_TIMESTAMP: [value.event_timestamp for value, _ in values],
            r.SERVED_MS: [served_ms for _, served_ms in values],
        }
        self._write_days(r.USER_ACTIVITY, columns, [served_ms // 1000 for _, served_ms in values])

    def snapshot(self, rows: pa.Table) -> None:
        """Writes the online features of all users, in the columns of `SNAPSHOTS`; raises as above."""
        for served_ms in rows[r.SERVED_MS][:1].to_pylist():
            day = int(self._calendar.day(np.array([served_ms // 1000]))[0])
            _write_table(self._folder / r.SNAPSHOTS.name / day_folder(day), rows, str(served_ms))

    def tombstones(self, erasures: Collection[Erasure]) -> None:
        """Writes erased users; raises as above."""
        if erasures:
            columns: Columns = {
                c.USER_ID: [erasure.user_id for erasure in erasures],
                r.ERASED_AT: [erasure.erased_at for erasure in erasures],
            }
            _write_table(self._folder / r.TOMBSTONES.name, _table(r.TOMBSTONES, columns))

    def _write_days(self, schema: TableSchema, columns: Columns, times: Sequence[int]) -> None:
        days = self._calendar.day(np.array(times, dtype=np.int64))
        for name, rows in by_day(_table(schema, columns), days):
            _write_table(self._folder / schema.name / name, rows)


def check_timestamp(timestamp: int) -> None:
    """Raises DataError for a time whose day has no name."""
    if not 0 <= timestamp < LAST_TIMESTAMP:
        raise DataError(f"timestamp {timestamp} is no time in Unix seconds; expected 0 … {LAST_TIMESTAMP - 1}")


def _table(schema: TableSchema, columns: Columns) -> pa.Table:
    return pa.table(columns, schema=arrow_schema(schema))


def _write_table(folder: Path, table: pa.Table, name: str | None = None) -> None:
    """Writes a file, named by its content if no name is given."""
    stream = pa.BufferOutputStream()
    pq.write_table(table, stream)
    content = stream.getvalue()
    name = name or hashlib.sha256(content).hexdigest()[:24]
    # durable: the stream forgets these rows next
    with atomic_file(folder / f"part-{name}.parquet", durable=True) as temporary:
        temporary.write_bytes(content)
