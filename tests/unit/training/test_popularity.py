"""Popularity lists by hand."""

from __future__ import annotations

import numpy as np

from contracts.clock import DAY_S, ShopCalendar
from training.popularity import (
    HALF_LIFE_DAYS,
    counts_by_day,
    decayed_counts,
    popular_by_category,
    popular_items,
    relative_popularity,
)

NOW = 100 * DAY_S


def test_an_interaction_counts_half_after_its_half_life() -> None:
    half_life = int(HALF_LIFE_DAYS * DAY_S)
    rows = np.array([0, 0, 1, 2], dtype=np.int32)
    timestamps = np.array([NOW, NOW - half_life, NOW - 2 * half_life, NOW])
    assert decayed_counts(rows, timestamps, 4, NOW).tolist() == [1.5, 0.25, 1.0, 0.0]


def test_lists_are_best_first_with_ties_by_row_and_without_the_unchosen() -> None:
    assert popular_items(np.array([1.0, 0.0, 3.0, 1.0], dtype=np.float32)).tolist() == [2, 0, 3]


def test_lists_by_category() -> None:
    counts = np.array([1.0, 2.0, 0.0, 4.0, 5.0], dtype=np.float32)
    lists = popular_by_category(counts, {"category_l1": ["a", "a", "b", "b", None]})
    assert lists == {"category_l1": {"a": [1, 0], "b": [3]}}


def test_a_category_without_interactions_has_an_empty_list() -> None:
    assert popular_by_category(np.zeros(1, dtype=np.float32), {"category_l2": ["x"]}) == {"category_l2": {"x": []}}


def test_counts_of_a_day_hold_what_came_before_it() -> None:
    rows = np.array([1, 0, 0, 1], dtype=np.int32)
    timestamps = np.array([13 * DAY_S, 10 * DAY_S, 7 * DAY_S, 12 * DAY_S])  # in no order, one before the first day

    found = counts_by_day(rows, timestamps, 2, ShopCalendar("UTC"), 10, 13)

    half = 0.5 ** (1 / HALF_LIFE_DAYS)  # a day
    expected = [[0.5, 0], [0.5 * half + half, 0], [0.5 * half**2 + half**2, 0], [0.25 + half**3, half]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_counts_by_day_are_decayed_counts_at_the_shops_midnight() -> None:
    rng = np.random.default_rng(0)
    calendar = ShopCalendar("America/New_York")  # 2026-03-08 has 23 hours
    first, last = 20_518, 20_523
    timestamps = rng.integers((first - 2) * DAY_S, (last + 1) * DAY_S, 500)
    rows = rng.integers(0, 7, 500).astype(np.int32)

    found = counts_by_day(rows, timestamps, 7, calendar, first, last)

    for day, counts in zip(range(first, last + 1), found, strict=True):
        start = calendar.start_of_day(day)
        before = timestamps < start
        np.testing.assert_allclose(counts, decayed_counts(rows[before], timestamps[before], 7, start), rtol=1e-5)


def test_popularity_is_relative_to_the_mean_and_zero_without_interactions() -> None:
    counts = np.array([[0, 1, 5], [0, 0, 0]], dtype=np.float32)
    found = relative_popularity(counts)
    np.testing.assert_allclose(found, [[0, np.log(1.5), np.log(3.5)], [0, 0, 0]], rtol=1e-6)
    assert found.dtype == np.float32
