"""Statistics of the model inputs when a bundle was made: the reference for measuring drift."""

from __future__ import annotations

from typing import Final, Literal, TypedDict

import numpy as np

from contracts.catalogue import ItemFeatures
from contracts.encoded import PAD_CODE
from contracts.feature import FeatureKind, Side
from contracts.ids import AnyArray, IntArray
from contracts.messages import QueryFeatures
from contracts.schema import FeatureSchema

NUM_BINS: Final = 20
MAX_CODES: Final = 200
"""Categorical features with more codes keep the most frequent ones and one count of all others."""
_OTHER: Final = "other"


class CodeCounts(TypedDict):
    """How often each code of a categorical feature occurs; the keys are codes, or `other`."""

    kind: Literal["categorical"]
    counts: dict[str, int]


class Histogram(TypedDict):
    """Counts of numbers: `edges` has one value more than `counts`."""

    kind: Literal["continuous"]
    edges: list[float]
    counts: list[int]


class ReferenceStats(TypedDict):
    """Statistics of the features, by their names."""

    num_rows: int
    features: dict[str, CodeCounts | Histogram]


def reference_stats(
    schema: FeatureSchema, queries: QueryFeatures, items: ItemFeatures, positives: IntArray
) -> ReferenceStats:
    """Statistics of the query features, and of the item features of the positives; of vectors their lengths.

    Args:
        schema: the features.
        queries: features of n sampled training rows, not masked.
        items: the catalogue.
        positives: ItemRow of each of the rows [n].
    """
    sides = ((schema.layout(Side.QUERY), queries.columns), (schema.layout(Side.ITEM), items.columns.take(positives)))
    lengths_of_histories = (queries.history.rows >= 0).sum(axis=1).astype(np.float32)
    features: dict[str, CodeCounts | Histogram] = {
        "item_row": _code_counts(positives),
        "history_length": histogram(lengths_of_histories),
    }
    for layout, columns in sides:
        coded = zip(layout.codes, columns.codes.T, strict=True)
        listed = zip(layout.lists, (values[values != PAD_CODE] for values in columns.lists), strict=True)
        features |= {name: _code_counts(codes) for name, codes in (*coded, *listed)}
        numbers = zip(layout.numbers, columns.numbers.T, strict=True)
        lengths = zip(layout.vectors, (np.linalg.norm(values, axis=1) for values in columns.vectors), strict=True)
        raw_vectors = (one for one in lengths if schema[one[0]].kind is FeatureKind.VECTOR)
        features |= {name: histogram(values) for name, values in (*numbers, *raw_vectors)}
    return {"num_rows": len(queries), "features": features}


def _code_counts(codes: AnyArray) -> CodeCounts:
    values, counts = np.unique(codes, return_counts=True)
    order = np.lexsort((values, -counts))
    kept = {str(values[place]): int(counts[place]) for place in order[:MAX_CODES]}
    if len(order) > MAX_CODES:
        kept[_OTHER] = int(counts[order[MAX_CODES:]].sum())
    return {"kind": "categorical", "counts": kept}


def histogram(values: AnyArray) -> Histogram:
    """Counts in at most `NUM_BINS` bins; where the values allow it, each holds an equal share of them."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, NUM_BINS + 1)))
    if len(edges) == 1:
        edges = np.array([edges[0], edges[0] + 1])
    counts, edges = np.histogram(values, bins=edges)
    return {"kind": "continuous", "edges": edges.tolist(), "counts": counts.tolist()}
