from __future__ import annotations

import numpy as np
import pytest

from contracts.features import (
    NUM_ITEM_AGE_BUCKETS,
    History,
    history_features,
    item_age_bucket,
    item_age_days,
    most_frequent,
    top_category,
)

NOW = 1_000_000


def test_history_marks_the_session_that_still_goes_on() -> None:
    rows = np.array([[7, 8, 9, 5, -1]], dtype=np.int32)
    stamps = np.array([[NOW - 60, NOW - 1_500, NOW - 3_400, NOW - 3_401, 0]])
    history = history_features(rows, stamps, np.array([NOW]), history_days=30)
    assert history.rows.tolist() == [[7, 8, 9, 5, -1]]
    assert history.age_s.tolist() == [[60, 1_500, 3_400, 3_401, 0]]
    # the gap between 1,500 s and 3,400 s is 1,900 s, longer than half an hour: a session ends there
    assert history.same_session.tolist() == [[True, True, False, False, False]]


def test_a_quiet_half_hour_before_now_ends_the_session() -> None:
    rows = np.array([[7], [7]], dtype=np.int32)
    stamps = np.array([[NOW - 1_799], [NOW - 1_800]])
    history = history_features(rows, stamps, np.array([NOW, NOW]), history_days=30)
    assert history.same_session.tolist() == [[True], [False]]


def test_history_older_than_its_days_is_left_out() -> None:
    rows = np.array([[7, 8]], dtype=np.int32)
    stamps = np.array([[NOW - 86_400, NOW - 86_401]])
    assert history_features(rows, stamps, np.array([NOW]), history_days=1).rows.tolist() == [[7, -1]]


def test_history_arrays_must_agree() -> None:
    with pytest.raises(ValueError, match=r"history arrays must all be \[B, N\]"):
        History(np.zeros((2, 3), np.int32), np.zeros((2, 2), np.float32), np.zeros((2, 3), bool))


def test_top_category_counts_the_last_24_hours() -> None:
    stamps = np.array([0, 1, 86_400, 86_401])
    assert top_category(np.array([1, 1, 2, 3]), stamps) == 3  # events 0 and 1 lie outside; 2 and 3 tie, 3 is newer
    assert top_category(np.array([1, 1, 2, 3]), stamps - np.array([0, 0, 0, 1])) == 3
    assert top_category(np.array([1, 2, 1, 3]), np.array([10, 11, 12, 13])) == 1
    assert top_category(np.array([0, 0]), np.array([10, 11])) == 0
    assert top_category(np.array([], dtype=np.int32), np.array([], dtype=np.int64)) == 0
    many = np.array([1] * 300 + [2] * 101 + [3] * 99)
    assert top_category(many, np.arange(500)) == 2, "of 500 events within a day the last 200 count"


def test_most_frequent_breaks_ties_by_recency() -> None:
    assert most_frequent(np.array([4, 2, 2, 4])) == 4
    assert most_frequent(np.array([4, 4, 2, 2])) == 2
    assert most_frequent(np.array([], dtype=np.int32)) == 0


def test_item_age_in_whole_days_and_buckets() -> None:
    day = 86_400
    launched = np.array([NOW, NOW - day + 1, NOW - day, NOW - 3 * day, NOW + 5, 0])
    assert item_age_days(launched, np.array(NOW)).tolist() == [0, 0, 1, 3, 0, NOW // day]
    assert item_age_bucket(launched[:5], np.array(NOW)).tolist() == [0, 0, 1, 3, 0]
    assert item_age_bucket(np.array([0]), np.array(100 * day)).tolist() == [NUM_ITEM_AGE_BUCKETS - 1]
