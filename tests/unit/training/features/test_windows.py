from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.features.events import EventTable
from training.features.windows import EventWindows


def table(toy_events: EventTable, sizes: list[int]) -> EventTable:
    """Subjects with these numbers of events; only what windows read."""
    return replace(toy_events, offsets=np.concatenate([[0], np.cumsum(sizes)]))


def test_windows_overlap_by_half_and_end_with_the_last_training_row(toy_events: EventTable) -> None:
    # one subject with rows 0 … 10, of which 0 … 8 are trained; windows of 4 with steps of 2
    windows = EventWindows.cut(table(toy_events, [11]), np.arange(9), 4)

    assert windows.starts.tolist() == [0, 2, 4, 6]
    assert windows.stops.tolist() == [4, 6, 8, 9]
    assert windows.num_rows.tolist() == [4, 2, 2, 1]
    rows, owners, places = windows.training_rows(np.array([3, 1]))
    assert (rows.tolist(), owners.tolist(), places.tolist()) == ([8, 4, 5], [0, 1, 1], [2, 2, 3])
    events, length = windows.event_rows(np.array([3, 1]))
    assert events.tolist() == [[6, 7, 8, 8], [2, 3, 4, 5]]
    assert length.tolist() == [3, 4]


def test_subjects_without_training_rows_have_no_window(toy_events: EventTable) -> None:
    windows = EventWindows.cut(table(toy_events, [2, 3, 0, 4]), np.array([3, 7]), 4)

    assert windows.starts.tolist() == [2, 5]
    assert windows.stops.tolist() == [4, 8]
    assert len(EventWindows.cut(table(toy_events, [2, 3]), np.zeros(0, dtype=np.int64), 4)) == 0


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    length=st.integers(2, 12),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
@pytest.mark.usefixtures("toy_events")
def test_each_row_is_trained_once_with_half_a_window_or_all_there_is_before_it(
    toy_events: EventTable, sizes: list[int], length: int, share: float, seed: int
) -> None:
    events = table(toy_events, sizes)
    trained = np.flatnonzero(np.random.default_rng(seed).random(sum(sizes)) < share)

    windows = EventWindows.cut(events, trained, length)

    rows, owners, places = windows.training_rows(np.arange(len(windows)))
    assert sorted(rows.tolist()) == trained.tolist()
    subject = np.repeat(np.arange(len(sizes)), sizes)
    before = rows - events.offsets[subject[rows]] if len(rows) else rows
    assert ((places == before) | (places >= length // 2)).all()
    assert (windows.stops - windows.starts <= length).all()
    assert (subject[windows.starts] == subject[windows.stops - 1]).all()
    assert (places < (windows.stops - windows.starts)[owners]).all()
