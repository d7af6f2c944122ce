"""The held-out day: its queries, the items that each user had seen, and cold users and items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.clock import DAY_S, day_to_name
from contracts.errors import DataError
from contracts.ids import AnyArray, BoolArray, FloatArray, IntArray, LongArray
from contracts.messages import Candidates
from training.evaluation.config import EvaluationConfig
from training.features.events import EventTable
from training.ranges import expand

_DAY_KEY = np.int64(1 << 32)


@dataclass(frozen=True)
class Seen:
    """Items that each query's subject had seen within the window, strictly before the event.

    It is an index over the events and as large as they are. A list of seen items per query would grow with the square
    of a busy subject's events.

    Attributes:
        pairs: subject * I + ItemRow of all that was seen [P], ascending and distinct.
        seen_at: place among the pairs * E + event row [n], ascending.
        subject: of each query [Q].
        starts: first event row of each query's window [Q].
        ends: event row of each query [Q].
        num_items: I.
        num_events: E.
    """

    pairs: LongArray
    seen_at: LongArray
    subject: LongArray
    starts: LongArray
    ends: LongArray
    num_items: int
    num_events: int

    @classmethod
    def before(cls, events: EventTable, rows: LongArray, num_items: int, window_days: int) -> Seen:
        """What was seen before each of the event rows [Q], on its day and the `window_days` - 1 days before."""
        starts = _search(events, events.subject[rows], events.day[rows] - (window_days - 1))
        order = np.argsort(rows)
        first, last = _ends_of_runs(events.subject[rows[order]])
        _, places = expand(starts[order[first]], rows[order[last]])
        places = places[events.seen[places]]
        keys = events.subject[places].astype(np.int64) * num_items + events.item_row[places]
        pairs, pair = np.unique(keys, return_inverse=True)
        subject = events.subject[rows].astype(np.int64)
        return cls(pairs, np.sort(pair * len(events) + places), subject, starts, rows, num_items, len(events))

    def contains(self, queries: AnyArray, rows: AnyArray) -> BoolArray:
        """Whether item `rows` was seen by query `queries`, elementwise."""
        if len(self.pairs) == 0:
            return np.zeros(len(rows), dtype=bool)
        keys = self.subject[queries] * self.num_items + rows
        pair = np.minimum(np.searchsorted(self.pairs, keys), len(self.pairs) - 1)
        return np.asarray((self.pairs[pair] == keys) & self._within(queries, pair))

    def mask(self, candidates: Candidates, queries: LongArray) -> BoolArray:
        """Whether each candidate [T] was seen; `queries` [B] are the batch's queries."""
        return self.contains(queries[candidates.owners], candidates.rows)

    def hide(self, scores: FloatArray, queries: LongArray) -> None:
        """Sets the scores [B, I] of seen items to -inf, in place."""
        first = self.subject[queries] * self.num_items
        block_rows, pair = expand(*np.searchsorted(self.pairs, [first, first + self.num_items]))
        within = self._within(queries[block_rows], pair)
        scores[block_rows[within], self.pairs[pair[within]] % self.num_items] = -np.inf

    def _within(self, queries: AnyArray, pair: LongArray) -> BoolArray:
        """Whether pairs (by place) were seen in the windows of queries: decided by the last time before the query."""
        start = pair * self.num_events
        newest = np.searchsorted(self.seen_at, start + self.ends[queries]) - 1
        return np.asarray((newest >= 0) & (self.seen_at[newest] >= start + self.starts[queries]))


@dataclass(frozen=True)
class TestDay:
    """Q queries of the test day in order of time; a query is an event, seen from just before it.

    Attributes:
        day: shop-local days since 1970-01-01.
        events: all events.
        rows: event rows [Q].
        time: Unix seconds [Q].
        target: ItemRow of the event [Q].
        subject: [Q] rows of the subjects.
        single: [Q] whether the query counts in the first protocol: the event's item is the target.
        whole_day: [Q] whether it counts in the second: the subject's first event that day; all its items of the day
            are targets.
        seen: items that the seen filter would remove.
        outside: [Q] whether the target was not seen.
        filtered: [Q] whether the query counts in the result with the seen filter on: `outside`, or a sample of it.
        cold_user: [Q].
        cold_item: [Q].
        launched_at: launch times of the catalogue [I].
    """

    __test__ = False  # not a test class for pytest

    day: int
    events: EventTable
    rows: LongArray
    time: LongArray
    target: IntArray
    subject: IntArray
    single: BoolArray
    whole_day: BoolArray
    seen: Seen
    outside: BoolArray
    filtered: BoolArray
    cold_user: BoolArray
    cold_item: BoolArray
    launched_at: LongArray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_items(self) -> int:
        return len(self.launched_at)

    def targets_of_day(self) -> tuple[LongArray, IntArray]:
        """Queries of the second protocol and their distinct targets: (query, ItemRow) pairs, ascending."""
        first = np.flatnonzero(self.whole_day)
        day_rows = self.rows[first]
        ends = _search(self.events, self.events.subject[day_rows], self.events.day[day_rows] + 1)
        owners, places = expand(day_rows, ends)
        positive = self.events.positive[places]
        keys = np.unique(first[owners[positive]] * self.num_items + self.events.item_row[places[positive]])
        return keys // self.num_items, (keys % self.num_items).astype(np.int32)


def test_day(events: EventTable, day: int, launched_at: LongArray, config: EvaluationConfig) -> TestDay:
    """Collects the queries of a day.

    Args:
        events: all events of all subjects.
        day: the test day, shop-local days since 1970-01-01.
        launched_at: launch times of the catalogue [I].
        config: sample sizes, seed, and the limits of cold.

    Raises:
        DataError: the day has no positives.
    """
    rows = events.rows_between(day, day)
    if len(rows) == 0:
        raise DataError(f"no positives on the test day {day_to_name(day)}; choose another test day in the split")
    rng = np.random.default_rng(config.seed)
    single = _sample(rows, config.max_events, rng)
    _, firsts = np.unique(events.subject[rows], return_index=True)
    whole_day = _sample(rows[firsts], config.max_users, rng)
    chosen = np.union1d(single, whole_day)
    chosen = chosen[np.argsort(events.timestamp[chosen], kind="stable")]
    time, target = events.timestamp[chosen], events.item_row[chosen]
    seen = Seen.before(events, chosen, len(launched_at), config.window_days)
    is_single, outside = np.isin(chosen, single), ~seen.contains(np.arange(len(chosen)), target)
    filtered = _sample(np.flatnonzero(is_single & outside), config.max_filtered_events, rng)
    launched = launched_at[target]
    return TestDay(
        day=day,
        events=events,
        rows=chosen,
        time=time,
        target=target,
        subject=events.subject[chosen],
        single=is_single,
        whole_day=np.isin(chosen, whole_day),
        seen=seen,
        outside=outside,
        filtered=np.isin(np.arange(len(chosen)), filtered),
        cold_user=chosen - events.offsets[events.subject[chosen]] < config.cold_user_events,
        cold_item=(launched > 0) & (time - launched < config.cold_item_days * DAY_S),
        launched_at=launched_at,
    )


def _ends_of_runs(values: AnyArray) -> tuple[LongArray, LongArray]:
    """First and last places of runs of equal values."""
    bounds = np.flatnonzero(np.diff(values))
    return np.append(0, bounds + 1)[: len(values)], np.append(bounds, len(values) - 1)[: len(values)]


def _search(events: EventTable, subject: IntArray, day: IntArray) -> LongArray:
    """The first row of each subject on or after a day."""
    keys = events.subject * _DAY_KEY + events.day
    return np.searchsorted(keys, subject * _DAY_KEY + day)


def _sample(rows: LongArray, count: int, rng: np.random.Generator) -> LongArray:
    return rows if len(rows) <= count else np.sort(rng.choice(rows, size=count, replace=False))
