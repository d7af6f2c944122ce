"""Input of the online stores: the features that a subject's next event would see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contracts import columns as c
from contracts.clock import ShopCalendar
from contracts.features import TOP_CATEGORY_EVENTS
from contracts.ids import AnyArray, BoolArray, IntArray, LongArray, user_of_subject
from training.features.events import EventTable
from training.features.point_in_time import last_window_mode, window_mode
from training.features.processed import USERS, Processed

_SOME: Final = 5_000


def final_profiles(processed: Processed) -> pa.Table:
    """Profiles of all users, with or without events: user_id, age, gender, event_timestamp (start of the window)."""
    users = pq.read_table(processed.path / USERS)
    start = ShopCalendar(processed.info.timezone).start_of_day(processed.info.first_day)
    return users.append_column(c.EVENT_TIMESTAMP, pa.array(np.full(len(users), start)))


def final_activity(processed: Processed) -> pa.Table:
    """Both top categories of every user with events, as of the end of the data.

    Returns:
        user_id, top_category (of the 24 hours that end at the last event), top_category_long (of all days), raw
        strings, null = none; and event_timestamp, Unix seconds of the last event.
    """
    return pa.concat_tables(_activity(processed, number) for number in range(processed.num_partitions))


def recent_interactions(processed: Processed, last: int = 200) -> Iterator[pa.Table]:
    """The newest interactions of every subject, one table a partition, in order of time within a subject.

    Args:
        processed: the processed run.
        last: least number of interactions of a subject; at least as many as `top_category` needs.

    Yields:
        subject_id (`contracts.ids`), item_id, timestamp, category_l1, day, event_id.
    """
    for number in range(processed.num_partitions):
        events = processed.events([number])
        ends = events.offsets[1:][events.subject]
        newest = ends - np.arange(len(events)) <= max(last, TOP_CATEGORY_EVENTS)
        yield _interactions(processed, number, events, newest)


def seen_interactions(processed: Processed, window_days: int = 7) -> Iterator[pa.Table]:
    """The interactions that mark items as seen on the last days, one table a partition; columns as above."""
    first_day = processed.info.last_day - window_days + 1
    for number in range(processed.num_partitions):
        events = processed.events([number])
        yield _interactions(processed, number, events, events.seen & (events.day >= first_day))


def some_users(processed: Processed, window_days: int = 7) -> tuple[list[str], list[str], list[str]]:
    """Raw ids of a few thousand users: of all users, of those with events, of those who saw something lately.

    Partitions are a random split of the subjects; only as many as necessary are read.
    """
    everybody = pq.read_table(processed.path / USERS, columns=[c.USER_ID])[c.USER_ID]
    every = everybody.take(np.linspace(0, len(everybody) - 1, min(len(everybody), _SOME), dtype=np.int64)).to_pylist()
    subjects = (processed.subjects([number]) for number in range(processed.num_partitions))
    seen = (table[c.SUBJECT_ID].unique() for table in seen_interactions(processed, window_days))
    return every, _first_users(subjects), _first_users(seen)


def _first_users(parts: Iterable[pa.Array | pa.ChunkedArray]) -> list[str]:
    users = (user for part in parts for name in part.to_pylist() if (user := user_of_subject(name)) is not None)
    return list(islice(users, _SOME))


def _activity(processed: Processed, number: int) -> pa.Table:
    events = processed.events([number])
    codes = processed.item_category[events.item_row]
    subjects = np.arange(len(events.subject_ids))
    last = events.offsets[1:] - 1
    day = last_window_mode(codes, events.timestamp, events.offsets, last, subjects)
    long = window_mode(codes, events.offsets, subjects, events.offsets[:-1], last + 1)
    columns = {
        c.USER_ID: pa.array(events.subject_ids, pa.string()),
        c.TOP_CATEGORY: _names(processed, day),
        c.TOP_CATEGORY_LONG: _names(processed, long),
        c.EVENT_TIMESTAMP: events.timestamp[last],
    }
    return pa.table(columns).filter(pa.array(processed.is_user([number])))


def _interactions(processed: Processed, number: int, events: EventTable, kept: BoolArray) -> pa.Table:
    rows: LongArray = np.flatnonzero(kept)
    items: IntArray = events.item_row[rows]
    columns = {
        c.SUBJECT_ID: processed.subjects([number]).take(pa.array(events.subject[rows])),
        c.ITEM_ID: processed.items[c.ITEM_ID].take(pa.array(items)),
        c.TIMESTAMP: events.timestamp[rows],
        c.CATEGORY_L1: processed.items[c.CATEGORY_L1].take(pa.array(items)),
        c.DAY: events.day[rows].astype(np.int64),
        c.EVENT_ID: processed.event_ids([number])[rows],
    }
    return pa.table(columns)


def _names(processed: Processed, codes: AnyArray) -> pa.Array:
    return pa.array([None, *processed.categories.tokens], pa.string()).take(pa.array(codes))
