"""What the model inputs looked like when a bundle was made: the reference that drift is measured against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from contracts.catalogue import ItemFeatures
from contracts.features import ITEM_CATEGORICALS, ITEM_CONTINUOUS, QUERY_CATEGORICALS, QUERY_CONTINUOUS
from contracts.ids import AnyArray, IntArray
from contracts.messages import QueryFeatures

NUM_BINS: Final = 20
MAX_CODES: Final = 200
"""Categorical features with more codes keep the most frequent ones and one count of all others."""
_OTHER: Final = "other"


def reference_stats(queries: QueryFeatures, items: ItemFeatures, positives: IntArray) -> dict[str, Any]:
    """Histograms of the query features, and of the item features of the positives.

    Args:
        queries: features of n sampled training rows, not masked.
        items: the catalogue.
        positives: ItemRow of each of the rows [n].

    Returns:
        {"num_rows", "features": {name: {"kind": "categorical", "counts": {code: count}} or
        {"kind": "continuous", "edges": [NUM_BINS + 1], "counts": [NUM_BINS]}}}.
    """
    categorical: Mapping[str, AnyArray] = {
        **dict(zip(QUERY_CATEGORICALS, queries.categorical.T, strict=True)),
        **dict(zip(ITEM_CATEGORICALS, items.categorical[positives].T, strict=True)),
        "item_row": positives,
    }
    continuous: Mapping[str, AnyArray] = {
        **dict(zip(QUERY_CONTINUOUS, queries.continuous.T, strict=True)),
        **dict(zip(ITEM_CONTINUOUS, items.continuous[positives].T, strict=True)),
        "history_length": (queries.history.rows >= 0).sum(axis=1).astype(np.float32),
    }
    features = {name: _code_counts(values) for name, values in categorical.items()}
    features |= {name: histogram(values) for name, values in continuous.items()}
    return {"num_rows": len(queries), "features": features}


def _code_counts(codes: AnyArray) -> dict[str, Any]:
    values, counts = np.unique(codes, return_counts=True)
    order = np.lexsort((values, -counts))
    kept = {str(values[place]): int(counts[place]) for place in order[:MAX_CODES]}
    if len(order) > MAX_CODES:
        kept[_OTHER] = int(counts[order[MAX_CODES:]].sum())
    return {"kind": "categorical", "counts": kept}


def histogram(values: AnyArray) -> dict[str, Any]:
    """Counts by bin; equal shares of the values a bin where they allow it, so that every bin can be compared."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, NUM_BINS + 1)))
    if len(edges) == 1:
        edges = np.array([edges[0], edges[0] + 1])
    counts, edges = np.histogram(values, bins=edges)
    return {"kind": "continuous", "edges": edges.tolist(), "counts": counts.tolist()}
