"""Metrics with one value per query, so that averages and intervals can be computed later.

Ranks count from 1; 0 means that the target was not in the list.
"""

from __future__ import annotations

import numpy as np

from contracts.errors import DataError
from contracts.ids import AnyArray, BoolArray, FloatArray, IntArray

Values = np.ndarray[tuple[int], np.dtype[np.float64]]


def hit_rate(ranks: IntArray, k: int) -> Values:
    """Whether the one target is among the first k [n]; with one target this is Recall@k as well."""
    return ((ranks >= 1) & (ranks <= k)).astype(np.float64)


def ndcg(ranks: IntArray, k: int) -> Values:
    """Normalised discounted cumulative gain of one target [n]: 1 / log2(1 + rank) within the first k."""
    return np.where(hit_rate(ranks, k) > 0, 1 / np.log2(1 + np.maximum(ranks, 1)), 0.0)


def reciprocal_rank(ranks: IntArray) -> Values:
    """1 / rank [n]; its mean is MRR."""
    return np.where(ranks >= 1, 1 / np.maximum(ranks, 1), 0.0)


def precision(hits: BoolArray, num_targets: IntArray) -> Values:
    """Share of the list that is a target [n].

    Args:
        hits: whether each place holds a target [n, k].
        num_targets: [n], at least 1; not used, but all metrics of several targets have the same signature.
    """
    return np.asarray(hits.mean(axis=1))


def recall(hits: BoolArray, num_targets: IntArray) -> Values:
    """Share of the targets that are in the list [n]."""
    return np.asarray(hits.sum(axis=1) / num_targets)


def f1(hits: BoolArray, num_targets: IntArray) -> Values:
    """Harmonic mean of precision and recall [n]."""
    return np.asarray(2 * hits.sum(axis=1) / (hits.shape[1] + num_targets))


def average_precision(hits: BoolArray, num_targets: IntArray) -> Values:
    """Mean of the precision at each target's place, over min(targets, k) [n]; its mean is MAP@k."""
    places = np.arange(1, hits.shape[1] + 1)
    precisions = np.cumsum(hits, axis=1) / places
    return np.asarray((precisions * hits).sum(axis=1) / np.minimum(num_targets, hits.shape[1]))


def list_ndcg(hits: BoolArray, num_targets: IntArray) -> Values:
    """NDCG of several targets of equal worth [n]: gain over that of a list that starts with the targets."""
    gains = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    ideal = np.concatenate([[0.0], np.cumsum(gains)])[np.minimum(num_targets, hits.shape[1])]
    return np.asarray(hits @ gains / ideal)


def auc(scores: AnyArray, labels: BoolArray) -> float:
    """Probability that a positive scores above a negative, ties count half; NaN without either.

    Mann-Whitney: (sum of the positives' mean ranks - P (P + 1) / 2) / (P N).

    Raises:
        DataError: a score is NaN.
    """
    refuse_nan(scores)
    num_positives = int(labels.sum())
    num_negatives = len(labels) - num_positives
    if num_positives == 0 or num_negatives == 0:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2
    total = mean_ranks[inverse][labels].sum()
    return float((total - num_positives * (num_positives + 1) / 2) / (num_positives * num_negatives))


def log_loss(probabilities: AnyArray, labels: BoolArray) -> Values:
    """Negative log-likelihood of each label [n]; probabilities are kept 1e-7 away from 0 and 1.

    Raises:
        DataError: a probability is NaN.
    """
    refuse_nan(probabilities)
    clipped = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    return -np.where(labels, np.log(clipped), np.log1p(-clipped))


def calibration_error(probabilities: AnyArray, labels: BoolArray, num_bins: int = 10) -> float:
    """Expected calibration error: mean gap of probability and frequency over bins of equal width, by their size.

    Raises:
        DataError: a probability is NaN.
    """
    refuse_nan(probabilities)
    bins = np.minimum((probabilities * num_bins).astype(int), num_bins - 1)
    gaps = np.bincount(bins, weights=probabilities - labels, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(labels))


def refuse_nan(scores: AnyArray) -> None:
    """Refuses NaN: comparisons would silently rank such scores first or last.

    Raises:
        DataError: a score is NaN.
    """
    count = int(np.isnan(scores).sum())
    if count:
        raise DataError(f"{count} of {scores.size} scores are NaN, expected numbers; train the models anew")


def coverage(lists: IntArray, num_eligible: int) -> float:
    """Share of the catalogue that occurs in any list; `lists` [n, k] ItemRow, -1 pads."""
    return float(np.unique(lists[lists >= 0]).size / num_eligible)


def novelty(lists: IntArray, shares: AnyArray) -> Values:
    """Mean surprise of a list's items in bits [n].

    Args:
        lists: [n, k] ItemRow, -1 pads; at least one item a list.
        shares: each item's share of the interactions [I], above 0.
    """
    filled = lists >= 0
    bits = np.where(filled, -np.log2(shares)[np.maximum(lists, 0)], 0.0)
    return np.asarray(bits.sum(axis=1) / filled.sum(axis=1))


def intra_list_diversity(lists: IntArray, vectors: FloatArray) -> Values:
    """One minus the mean cosine of a list's pairs [n].

    Args:
        lists: [n, k] ItemRow, -1 pads; at least two items a list.
        vectors: unit vectors of the items [I, D], zeros where unknown.
    """
    filled = lists >= 0
    members = vectors[np.maximum(lists, 0)] * filled[..., None]
    counts = filled.sum(axis=1)
    together = np.square(members.sum(axis=1)).sum(axis=1)  # |sum|² = sum of all cosines, pairs counted twice
    alone = np.square(members).sum(axis=(1, 2))
    return np.asarray(1 - (together - alone) / (counts * (counts - 1)))
