"""Reference statistics: counts that add up, and bins that hold equal shares."""

from __future__ import annotations

import numpy as np

from contracts.encoded import PAD_CODE, EncodedColumns
from contracts.feature import Feature, Side
from contracts.features import History
from contracts.messages import QueryFeatures
from contracts.presets import SHOP
from contracts.schema import FeatureSchema
from tests.fixtures.tiny_bundle import tiny_items, tiny_transforms
from training.reference_stats import MAX_CODES, NUM_BINS, reference_stats

NUM_ROWS = 1_000
SCHEMA = FeatureSchema(
    (
        *SHOP.features,
        Feature(name="tags", side="query", kind="categories"),
        Feature(name="style", side="query", kind="vector", length=2),
    )
)


def _stats() -> dict[str, dict[str, object]]:
    rng = np.random.default_rng(0)
    layout = SCHEMA.layout(Side.QUERY)
    codes = rng.integers(0, 3, size=(NUM_ROWS, len(layout.codes))).astype(np.int32)
    codes[:, layout.codes.index("user_id")] = np.arange(NUM_ROWS)  # more codes than are kept
    numbers = rng.normal(size=(NUM_ROWS, len(layout.numbers))).astype(np.float32)
    numbers[:, layout.numbers.index("hour_sin")] = 2.5
    tags = np.full((NUM_ROWS, 3), PAD_CODE, dtype=np.int32)
    tags[:250, :2] = [7, 8]
    style = np.zeros((NUM_ROWS, 2), dtype=np.float32)
    style[::2] = [3, 4]  # of length 5
    history_rows = np.where(np.arange(4) < rng.integers(0, 5, size=(NUM_ROWS, 1)), 1, -1).astype(np.int32)
    empty = np.zeros((NUM_ROWS, 4))
    history = History(history_rows, empty.astype(np.float32), empty.astype(bool))
    columns = EncodedColumns(SCHEMA.digest, codes, numbers, (tags,), (style,))
    queries = QueryFeatures("", np.zeros(NUM_ROWS, dtype=np.int64), columns, history)
    positives = (np.arange(NUM_ROWS) % 12).astype(np.int32)
    found: dict[str, dict[str, object]] = reference_stats(SCHEMA, queries, tiny_items(tiny_transforms()), positives)[
        "features"
    ]
    return found


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


def test_values_of_lists_and_lengths_of_vectors_are_counted() -> None:
    assert _stats()["tags"]["counts"] == {"7": 250, "8": 250}
    assert _stats()["style"] == {"kind": "continuous", "edges": [0.0, 2.5, 5.0], "counts": [500, 500]}


def test_embeddings_are_not_counted() -> None:
    layouts = (SCHEMA.layout(Side.QUERY), SCHEMA.layout(Side.ITEM))
    names = {name for layout in layouts for name in layout} - {"text", "image"}
    assert set(_stats()) == {"item_row", "history_length", *names}


def test_a_constant_feature_has_one_bin() -> None:
    feature = _stats()["hour_sin"]
    assert (feature["edges"], feature["counts"]) == ([2.5, 3.5], [NUM_ROWS])


def test_history_lengths_are_counted() -> None:
    assert sum(_stats()["history_length"]["counts"]) == NUM_ROWS
