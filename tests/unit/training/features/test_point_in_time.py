from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import contracts.features
from contracts.clock import DAY_S
from contracts.features import most_frequent, top_category
from training.features import point_in_time
from training.features.point_in_time import last_window_mode, top_categories, window_mode

HOUR = 3_600


def features(events: list[list[tuple[int, int]]]) -> tuple[list[int], list[int]]:
    """Both features of subjects given as lists of (timestamp, category)."""
    flat = [event for subject in events for event in subject]
    timestamps = np.array([timestamp for timestamp, _ in flat], dtype=np.int64)
    codes = np.array([code for _, code in flat], dtype=np.int32)
    offsets = np.cumsum([0, *(len(subject) for subject in events)])
    day, long = top_categories(codes, timestamps, (timestamps // DAY_S).astype(np.int32), offsets)
    assert day.dtype == long.dtype == np.int32
    return day.tolist(), long.tolist()


def test_the_window_ends_at_the_previous_event_and_is_24_hours_long() -> None:
    day, _ = features([[(0, 1), (HOUR, 2), (2 * HOUR, 2), (30 * 24 * HOUR, 3), (31 * 24 * HOUR - 1, 1)]])
    assert day == [0, 1, 2, 2, 3]  # does not expire: thirty days later it is still 2
    assert features([[(0, 1), (DAY_S, 2), (DAY_S + 1, 2)]])[0] == [0, 1, 2]  # (last - 24 h, last]


def test_ties_go_to_the_newest_category() -> None:
    assert features([[(0, 1), (1, 2), (2, 2), (3, 1), (4, 3)]])[0] == [0, 1, 2, 2, 1]


def test_items_without_category_do_not_count_but_move_the_window() -> None:
    day, _ = features([[(0, 1), (2 * DAY_S, 0), (2 * DAY_S + 1, 1)]])
    assert day == [0, 1, 0]


def test_the_long_one_is_of_earlier_days_only() -> None:
    _, long = features([[(0, 1), (1, 2), (2, 2), (DAY_S, 1), (DAY_S + 1, 1), (2 * DAY_S, 3)]])
    assert long == [0, 0, 0, 2, 2, 1]


def test_subjects_do_not_see_each_other() -> None:
    day, long = features([[(0, 1)], [], [(1, 2), (DAY_S, 2)], [(DAY_S + 5, 3)]])
    assert day == [0, 0, 2, 0]
    assert long == [0, 0, 2, 0]


def test_no_events() -> None:
    assert features([]) == ([], [])
    assert (
        last_window_mode(*(np.zeros(0, np.int64),) * 2, np.zeros(1, np.int64), *(np.zeros(0, np.int64),) * 2).size == 0
    )


subject_events = st.lists(st.tuples(st.integers(0, 8 * 12), st.integers(0, 4)), max_size=25)


@given(st.lists(subject_events, max_size=6), st.integers(1, 40), st.integers(1, 30))
def test_equal_to_what_serving_computes_one_by_one(
    subjects: list[list[tuple[int, int]]], max_cells: int, max_events: int
) -> None:
    events = [[(half_day * DAY_S // 8, code) for half_day, code in sorted(subject)] for subject in subjects]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(point_in_time, "_MAX_CELLS", max_cells)  # so that small tables need many chunks, too
        for module in (point_in_time, contracts.features):
            patch.setattr(module, "TOP_CATEGORY_EVENTS", max_events)
        day, long = features(events)
        expected_day, expected_long = [], []
        for subject in events:
            timestamps = np.array([timestamp for timestamp, _ in subject], dtype=np.int64)
            codes = np.array([code for _, code in subject], dtype=np.int32)
            for row, timestamp in enumerate(timestamps):
                expected_day.append(top_category(codes[:row], timestamps[:row]))
                earlier = codes[:row][timestamps[:row] // DAY_S < timestamp // DAY_S]
                expected_long.append(most_frequent(earlier[earlier > 0]))
    assert day == expected_day
    assert long == expected_long


@given(st.data())
def test_any_windows_of_one_subject(data: st.DataObject) -> None:
    codes = np.array(data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=30)), dtype=np.int32)
    bound = st.integers(0, len(codes))
    windows = data.draw(st.lists(st.tuples(bound, bound).map(sorted), min_size=1, max_size=10))
    starts, ends = (np.array(side, dtype=np.int64) for side in zip(*windows, strict=True))
    modes = window_mode(codes, np.array([0, len(codes)]), np.zeros(len(windows), dtype=np.int64), starts, ends)
    parts = [codes[start:end] for start, end in windows]
    assert modes.tolist() == [most_frequent(part[part > 0]) for part in parts]
