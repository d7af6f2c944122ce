"""Popularity lists by hand."""

from __future__ import annotations

import numpy as np

from contracts.clock import DAY_S
from training.popularity import HALF_LIFE_DAYS, decayed_counts, popular_by_category, popular_items

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
