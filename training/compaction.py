"""Compaction: turns the many small files that serving records into one per day, without repeats and erased users.

The old files of a day are removed after the new one is on the disk. If the run is killed in between, the day has rows
twice, as after a redelivery; the next run and preprocessing keep one of each. Files that serving adds meanwhile are
compacted by the next run.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from contracts import columns as c
from contracts import records as r
from contracts.clock import DAY_S
from contracts.columns import TableSchema
from contracts.config import StrictConfig
from contracts.files import atomic_file
from contracts.ids import BoolArray, LongArray
from training.records import erased_users, find_records
from training.subjects import name_subjects, subjects_of
from training.tables import RawTable, read_files

_DONE: Final = "compacted-"
_ERASED: Final = b"erased"
_LEFTOVER_AFTER_S: Final = 3_600


class CompactConfig(StrictConfig):
    """How records are compacted."""

    attribution_minutes: int = Field(default=30, ge=1)
    """An impression is clicked if an event with its request and item follows within this time."""
    late_days: int = Field(default=2, ge=0)
    """Days after which a missing click is final, since events may be accepted late. Serving accepts them up to
    `stores.history_days` late."""
    click_events: tuple[c.EventName, ...] = Field(default=("click", "cart", "purchase"), min_length=1)
    """Events that count as clicks."""


@dataclass(frozen=True)
class Compacted:
    """What a run did.

    Attributes:
        events: recorded interactions, each once.
        repeats: removed rows that repeat an earlier one.
        erased: removed rows of erased users.
        days: rewritten days, of all tables.
        clicks: impressions that became clicked.
    """

    events: int
    repeats: int
    erased: int
    days: int
    clicks: int


@dataclass(frozen=True)
class _Table:
    """How one table is compacted.

    Attributes:
        schema: the table.
        key: columns that are equal in repeats; the first of them in `order` is kept. `_SUBJECT` stands for user or
            session.
        order: columns that the rows are sorted by.
    """

    schema: TableSchema
    key: tuple[str, ...]
    order: tuple[str, ...]


_SUBJECT: Final = "subject"
_INTERACTIONS: Final = _Table(
    r.INTERACTIONS,
    (_SUBJECT, c.EVENT_ID, c.ITEM_ID, c.EVENT, c.TIMESTAMP),  # the same key as in `training.features.repeats`
    (c.TIMESTAMP, c.EVENT_ID, r.ACCEPTED_MS),
)
_ACTIVITY: Final = _Table(r.USER_ACTIVITY, (c.USER_ID, r.SERVED_MS, c.EVENT_TIMESTAMP), (c.USER_ID, r.SERVED_MS))
_SNAPSHOTS: Final = _Table(r.SNAPSHOTS, (c.USER_ID, r.SERVED_MS), (r.SERVED_MS, c.USER_ID))
_IMPRESSIONS: Final = _Table(
    r.IMPRESSIONS, (_SUBJECT, c.REQUEST_ID, c.ITEM_ID, c.POSITION), (c.TIMESTAMP, c.REQUEST_ID, c.POSITION)
)


def compact(folder: Path, config: CompactConfig, now: int) -> Compacted:
    """Compacts a shop's records.

    Args:
        folder: of the shop's records.
        config: settings.
        now: Unix seconds.

    Raises:
        DataError: a file cannot be read.
        SchemaError: a file lacks a column or has one of a wrong type.
    """
    _remove_leftovers(folder)
    erased = erased_users(folder)
    done = [_compact_table(folder, table, erased) for table in (_INTERACTIONS, _ACTIVITY, _SNAPSHOTS, _IMPRESSIONS)]
    clicks = _fill_clicks(folder, config, now)
    _, repeats, gone, days = np.sum(done, axis=0).tolist()
    return Compacted(events=int(done[0][0]), repeats=repeats, erased=gone, days=days, clicks=clicks)


def _compact_table(folder: Path, table: _Table, erased: pa.Array) -> LongArray:
    """Counts [4]: kept rows, repeats, rows of erased users, rewritten days."""
    found = find_records(folder, table.schema)
    totals = np.zeros(4, dtype=np.int64)
    digest = hashlib.sha256("\n".join(erased.to_pylist()).encode()).hexdigest()
    if found is None:
        return totals
    for files in found.days.values():
        if len(files) == 1 and _is_done(files[0], digest):
            totals += [found.of_files(files).num_rows, 0, 0, 0]
        elif files:
            totals += [*_compact_day(found.of_files(files), table, erased, digest), 1]
    return totals


def _compact_day(day: RawTable, table: _Table, erased: pa.Array, digest: str) -> tuple[int, int, int]:
    rows = read_files(day)
    known = rows.filter(pc.invert(pc.is_in(rows[c.USER_ID], value_set=erased)))
    kept = known.sort_by([(name, "ascending") for name in table.order])
    kept = kept.filter(pa.array(_first_of_each(kept, table.key)))
    _replace(day.files, kept, digest)
    return len(kept), len(known) - len(kept), len(rows) - len(known)


def _first_of_each(rows: pa.Table, key: Sequence[str]) -> BoolArray:
    """Whether no earlier row has the same key [R]; always true for rows that lack a part of it."""
    columns = {name: _subjects(rows) if name == _SUBJECT else rows[name] for name in key}
    numbered = pa.table(columns | {"row": pa.array(np.arange(len(rows)))})
    first = np.zeros(len(rows), dtype=bool)
    first[numbered.group_by(list(key)).aggregate([("row", "min")])["row_min"].to_numpy()] = True
    for column in columns.values():
        first |= column.is_null().to_numpy()
    return first


def _replace(files: Sequence[Path], rows: pa.Table, digest: str) -> None:
    """Replaces some files by one."""
    rows = rows.replace_schema_metadata({_ERASED: digest.encode()})
    parts = "\n".join([digest, *sorted(f"{path.name} {path.stat().st_size}" for path in files)])
    target = files[0].with_name(f"{_DONE}{hashlib.sha256(parts.encode()).hexdigest()[:24]}.parquet")
    with atomic_file(target, durable=True) as temporary:
        pq.write_table(rows, temporary)
    for path in files:
        if path != target:
            path.unlink()


def _is_done(path: Path, digest: str) -> bool:
    """Whether a file was compacted without the erased users."""
    if not path.name.startswith(_DONE):
        return False
    metadata = pq.read_schema(path).metadata or {}
    return metadata.get(_ERASED) == digest.encode()


def _fill_clicks(folder: Path, config: CompactConfig, now: int) -> int:
    """Fills `clicked` of impressions: true after a click, false when it is too late for one, null until then.

    For `late_days`, a click that is recorded late changes false to true.
    """
    impressions, events = find_records(folder, r.IMPRESSIONS), find_records(folder, r.INTERACTIONS)
    if impressions is None:
        return 0
    window_s = 60 * config.attribution_minutes
    days_after = -(-window_s // DAY_S)
    days_of_events = events.days if events else {}
    clicks = 0
    for day, files in impressions.days.items():
        if not files:
            continue
        rows = read_files(impressions.of_files(files))
        waited = now - window_s - rows[c.TIMESTAMP].to_numpy()
        before = rows[c.CLICKED]
        open_rows = before.is_null().to_numpy() | (~_true(before) & (waited <= config.late_days * DAY_S))
        if not open_rows.any():
            continue
        near = [path for near in range(day - 1, day + days_after + 1) for path in days_of_events.get(near, ())]
        answers = read_files(events.of_files(near)) if events and near else None
        clicked = _true(before) | (open_rows & attributed(rows, answers, config.click_events, window_s))
        values = pa.array(clicked, mask=~clicked & (waited <= 0))
        if values.equals(before.combine_chunks()):
            continue
        metadata = pq.read_schema(files[0]).metadata or {}
        rows = rows.set_column(rows.schema.get_field_index(c.CLICKED), c.CLICKED, values)
        _replace(files, rows, metadata.get(_ERASED, b"").decode())
        clicks += int((clicked & ~_true(before)).sum())
    return clicks


def _true(column: pa.ChunkedArray) -> BoolArray:
    true: BoolArray = column.fill_null(False).to_numpy()
    return true


def attributed(impressions: pa.Table, events: pa.Table | None, kinds: Sequence[str], window_s: int) -> BoolArray:
    """Whether the visitor's event with the same request and item follows each impression within a time [R].

    An impression of a user needs an event of that user; one of a session without a user, an event of that session; one
    with neither, any event that names the request.

    An event that names a request came after it; if its time is earlier, its clock is slow.

    Args:
        impressions: request_id, item_id, timestamp, user_id and session_id of each.
        events: recorded interactions; None = there are none.
        kinds: values of `event`; an event without one is a view.
        window_s: seconds, the last one included.
    """
    clicked = np.zeros(len(impressions), dtype=bool)
    if events is None:
        return clicked
    wanted = pc.is_in(pc.fill_null(events[c.EVENT], c.EVENTS[0]), pa.array(kinds))
    events = events.filter(pc.and_(wanted, events[c.REQUEST_ID].is_valid()))
    shown = pa.table(
        {
            "row": np.arange(len(impressions)),
            "shown": impressions[c.TIMESTAMP],
            c.REQUEST_ID: impressions[c.REQUEST_ID],
            c.ITEM_ID: impressions[c.ITEM_ID],
            _SUBJECT: _subjects(impressions),
        }
    )
    key = [c.REQUEST_ID, c.ITEM_ID]
    answers = events.select([*key, c.TIMESTAMP])
    in_session = name_subjects(events[c.SESSION_ID], np.zeros(len(events), dtype=bool))
    credits = [subjects_of(events), in_session, pa.repeat("", len(events))]
    clicks = pa.concat_tables([answers.append_column(_SUBJECT, column) for column in credits])
    pairs = shown.join(clicks, [*key, _SUBJECT], join_type="inner")
    wait_s = pairs[c.TIMESTAMP].to_numpy() - pairs["shown"].to_numpy()
    clicked[pairs["row"].to_numpy()[wait_s <= window_s]] = True
    return clicked


def _subjects(rows: pa.Table) -> pa.ChunkedArray:
    """Subject of each row; "" if it has none."""
    return pc.fill_null(subjects_of(rows), "")


def _remove_leftovers(folder: Path) -> None:
    """Removes unfinished files of killed processes."""
    for path in folder.rglob(".*.tmp"):
        if time.time() - path.stat().st_mtime > _LEFTOVER_AFTER_S:
            path.unlink(missing_ok=True)
