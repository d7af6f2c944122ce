"""Reference statistics: counts that add up, and bins that hold equal shares."""

from __future__ import annotations

import numpy as np

from contracts.features import QUERY_CATEGORICALS, QUERY_CONTINUOUS, History
from contracts.messages import QueryFeatures
from tests.fixtures.tiny_bundle import tiny_items, tiny_transforms
from training.reference_stats import MAX_CODES, NUM_BINS, reference_stats

NUM_ROWS = 1_000


def _stats() -> dict[str, dict[str, object]]:
    rng = np.random.default_rng(0)
    categorical = rng.integers(0, 3, size=(NUM_ROWS, len(QUERY_CATEGORICALS))).astype(np.int32)
    categorical[:, 0] = np.arange(NUM_ROWS)  # user ids: more codes than are kept
    continuous = rng.normal(size=(NUM_ROWS, len(QUERY_CONTINUOUS))).astype(np.float32)
    continuous[:, 1] = 2.5
    history_rows = np.where(np.arange(4) < rng.integers(0, 5, size=(NUM_ROWS, 1)), 1, -1).astype(np.int32)
    empty = np.zeros((NUM_ROWS, 4))
    history = History(history_rows, empty.astype(np.float32), empty.astype(bool))
    queries = QueryFeatures("", np.zeros(NUM_ROWS, dtype=np.int64), categorical, continuous, history)
    positives = (np.arange(NUM_ROWS) % 12).astype(np.int32)
    return reference_stats(queries, tiny_items(tiny_transforms()), positives)["features"]


def test_categories_are_counted_by_code() -> None:
    counts = _stats()["category_l1"]["counts"]  # item i is of category i % 3
    assert counts == {"1": 334, "2": 333, "3": 333}


def test_rare_codes_are_counted_together() -> None:
    counts = _stats()["user_id"]["counts"]
    assert len(counts) == MAX_CODES + 1
    assert counts["other"] == NUM_ROWS - MAX_CODES


def test_bins_hold_equal_shares() -> None:
    feature = _stats()["age_norm"]
    assert len(feature["edges"]) == NUM_BINS + 1
    assert set(feature["counts"]) == {NUM_ROWS // NUM_BINS}


def test_a_constant_feature_has_one_bin() -> None:
    feature = _stats()["hour_sin"]
    assert (feature["edges"], feature["counts"]) == ([2.5, 3.5], [NUM_ROWS])


def test_history_lengths_are_counted() -> None:
    assert sum(_stats()["history_length"]["counts"]) == NUM_ROWS
