"""The held-out day: who is asked what, and what had been seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.clock import DAY_S
from contracts.errors import DataError
from contracts.messages import Candidates
from tests.fixtures.events import event_table
from training.evaluation.config import EvaluationConfig
from training.evaluation.test_day import Seen, TestDay
from training.evaluation.test_day import test_day as collect
from training.features.events import EventTable
from training.ranges import expand

DAY = 20
T = DAY * DAY_S
NUM_ITEMS = 6
ALWAYS = np.zeros(NUM_ITEMS, dtype=np.int64)


def at(day: int, second: int = 0) -> int:
    return day * DAY_S + second


@pytest.fixture
def events() -> EventTable:
    return event_table(
        [
            [(at(13), 0), (at(14), 1), (at(19), 2), (at(DAY, 50), 3), (at(DAY, 60), 1), (at(DAY, 70), 3)],
            [(at(DAY, 10), 4), (at(DAY + 1), 5)],
            [(at(19), 5)],
        ]
    )


def collected(events: EventTable, **config: int) -> TestDay:
    return collect(events, DAY, ALWAYS, EvaluationConfig(**config))


def test_every_positive_of_the_day_is_a_query_in_order_of_time(events: EventTable) -> None:
    day = collected(events)
    assert day.rows.tolist() == [6, 3, 4, 5]
    assert day.time.tolist() == [T + 10, T + 50, T + 60, T + 70]
    assert day.target.tolist() == [4, 3, 1, 3]
    assert day.single.all()


def test_the_second_protocol_asks_at_the_first_event_for_all_items_of_the_day(events: EventTable) -> None:
    day = collected(events)
    assert day.whole_day.tolist() == [True, True, False, False]
    queries, targets = day.targets_of_day()
    assert list(zip(queries.tolist(), targets.tolist(), strict=True)) == [(0, 4), (1, 1), (1, 3)]


def test_seen_are_today_and_the_six_days_before_strictly_before_the_event(events: EventTable) -> None:
    day = collected(events)
    seen = [
        [item for item in range(NUM_ITEMS) if day.seen.contains(np.array([q]), np.array([item]))[0]] for q in range(4)
    ]
    # day 13 is outside of the window of day 20, day 14 inside
    assert seen == [[], [1, 2], [1, 2, 3], [1, 2, 3]]
    assert day.outside.tolist() == [True, True, False, False]


def test_events_that_do_not_mark_as_seen_are_not_seen() -> None:
    events = event_table([[(at(DAY, 1), 0), (at(DAY, 2), 0)]], not_seen=[0])
    assert collected(events).outside.all()


def test_events_that_are_no_positives_are_no_queries_and_no_targets() -> None:
    events = event_table([[(at(DAY, 1), 0), (at(DAY, 2), 1), (at(DAY, 3), 2)]], not_positive=[0, 2])
    day = collected(events)
    assert day.rows.tolist() == [1]
    assert day.targets_of_day()[1].tolist() == [1]
    assert day.seen.contains(np.array([0]), np.array([0])).all()


def test_cold_users_and_items() -> None:
    launched = np.array([0, at(DAY - 3, 100), at(DAY - 3, 101), at(DAY), 0, 0])
    events = event_table(
        [[*((at(10, second), 0) for second in range(4)), *((at(DAY, 100), item) for item in range(4))]]
    )
    day = collect(events, DAY, launched, EvaluationConfig())
    assert day.cold_user.tolist() == [True, False, False, False]  # four earlier events, then five and more
    assert day.cold_item.tolist() == [False, False, True, True]


def test_samples_are_seeded_and_as_large_as_asked() -> None:
    events = event_table([[(at(DAY, second), 0) for second in range(5)] for _ in range(20)])
    first, again, other = (collected(events, max_events=30, max_users=8, seed=seed) for seed in (1, 1, 2))
    assert (first.single.sum(), first.whole_day.sum()) == (30, 8)
    fewer = collected(events, max_events=30, max_users=8, max_filtered_events=3)
    assert fewer.filtered.sum() == 3
    assert (fewer.single & fewer.outside)[fewer.filtered].all()
    assert first.rows.tolist() == again.rows.tolist() != other.rows.tolist()


def test_a_day_without_positives_is_refused(events: EventTable) -> None:
    with pytest.raises(
        DataError, match="no positives on the test day 1970-04-10; choose another test day in the split"
    ):
        collect(events, 99, ALWAYS, EvaluationConfig())


def test_seen_hides_scores_and_marks_candidates(events: EventTable) -> None:
    seen = collected(events).seen  # nothing by query 0, items 1 and 2 by query 1, besides 3 by query 2
    scores = np.ones((2, NUM_ITEMS), dtype=np.float32)
    seen.hide(scores, np.array([0, 2]))
    assert np.flatnonzero(np.isneginf(scores)).tolist() == [NUM_ITEMS + item for item in (1, 2, 3)]
    candidates = Candidates("v", np.array([1, 2, 3, 1], np.int32), np.zeros(4, np.float32), np.array([2, 2], np.int32))
    assert seen.mask(candidates, np.array([0, 1])).tolist() == [False, False, False, True]


def test_nothing_seen() -> None:
    seen = Seen.before(event_table([[(at(DAY), 0)]]), np.array([0]), 4, 7)
    assert seen.contains(np.array([0]), np.array([1])).tolist() == [False]
    scores = np.ones((1, 4), dtype=np.float32)
    seen.hide(scores, np.array([0]))
    assert (scores == 1).all()
    nobody = Seen.before(event_table([[(at(DAY), 0)]]), np.array([], dtype=np.int64), 4, 7)
    assert len(nobody.pairs) == 0


visits = st.lists(st.tuples(st.integers(10, 24), st.integers(0, 3)).map(lambda pair: (at(*pair), pair[1])), max_size=12)


@given(st.lists(visits.map(sorted), min_size=1, max_size=4), st.data(), st.integers(1, 9))
def test_seen_is_what_one_by_one_gives(subjects: list[list[tuple[int, int]]], data: st.DataObject, window: int) -> None:
    size = sum(map(len, subjects))
    row = st.integers(0, max(size - 1, 0))
    events = event_table(subjects, not_seen=data.draw(st.lists(row, max_size=3)) if size else ())
    rows = np.array(data.draw(st.lists(row, unique=True)) if size else [], dtype=np.int64)
    seen = Seen.before(events, rows, 4, window)
    expected = np.zeros((len(rows), 4), dtype=bool)
    for query, own in enumerate(rows.tolist()):
        before = np.arange(events.offsets[events.subject[own]], own)
        kept = before[events.seen[before] & (events.day[before] > events.day[own] - window)]
        expected[query, events.item_row[kept]] = True
    queries, items = np.divmod(np.arange(4 * len(rows)), 4)
    assert seen.contains(queries, items).tolist() == expected.ravel().tolist()
    scores = np.zeros((len(rows), 4), dtype=np.float32)
    seen.hide(scores, np.arange(len(rows)))
    assert np.isneginf(scores).tolist() == expected.tolist()


def test_ranges_are_expanded_in_order_and_may_be_empty() -> None:
    owners, places = expand(np.array([5, 9, 2]), np.array([7, 9, 3]))
    assert (owners.tolist(), places.tolist()) == ([0, 0, 2], [5, 6, 2])
