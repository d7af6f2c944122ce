"""Item-to-item baselines: scores of a query are its recent items times a learned matrix [I, I].

All learn from the events before a cutoff, those of the test day included, and read the exact history before the query.
Users without history and equal scores are ranked by the popularity of the last days.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

import numpy as np
from scipy import linalg, sparse

from contracts.ids import AnyArray, FloatArray, LongArray
from training.evaluation.baselines.popularity import Popularity
from training.evaluation.ranked import ScoreBlocks
from training.evaluation.test_day import TestDay
from training.features.events import EventTable

_FALLBACK_DAYS: Final = 3
_FALLBACK_WEIGHT: Final = 1e-6
_PAIR_CHUNK: Final = 4_000_000


class ItemToItem(ABC):
    """One baseline: how its matrix is learned and how much each recent item weighs."""

    history_length: int
    """Recent items that a query reads."""

    @abstractmethod
    def fit(self, events: EventTable, known: AnyArray, num_items: int) -> FloatArray:
        """The matrix [I, I] float32 from the events under a mask [E]; row = recent item, column = candidate."""

    @abstractmethod
    def weights(self) -> FloatArray:
        """Weight of the recent items by lag [history_length], newest first."""

    def blocks(self, day: TestDay, block_rows: int, num_refreshes: int) -> ScoreBlocks:
        """Scores of all queries of a test day; the matrix is learned `num_refreshes` times over the day."""
        popularity = Popularity(day.events, day.num_items, _FALLBACK_DAYS)
        weights = self.weights()
        for queries in np.array_split(np.arange(len(day)), num_refreshes):
            if len(queries) == 0:
                continue
            matrix = self.fit(day.events, day.events.timestamp < day.time[queries[0]], day.num_items)
            for start in range(0, len(queries), block_rows):
                part = queries[start : start + block_rows]
                fallback = popularity.at(day.time[part])
                fallback *= _FALLBACK_WEIGHT / np.maximum(fallback.max(axis=1, keepdims=True), 1)
                yield part, recent_matrix(day.events, day.rows[part], weights, day.num_items) @ matrix + fallback


class Markov(ItemToItem):
    """Transition counts from each of the last k items, weighted 1 / lag, as shares of the item's transitions."""

    def __init__(self, history_length: int = 10, smoothing: float = 50.0) -> None:
        self.history_length = history_length
        self._smoothing = smoothing

    def fit(self, events: EventTable, known: AnyArray, num_items: int) -> FloatArray:
        counts = pair_counts(events, known, num_items, self.weights())
        return np.asarray(counts / (counts.sum(axis=1, keepdims=True) + self._smoothing))

    def weights(self) -> FloatArray:
        return (1 / np.arange(1, self.history_length + 1)).astype(np.float32)


class ItemKNN(ItemToItem):
    """Cosine of the items' users with shrinkage; a query's recent items weigh less with every lag.

    Source: Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001.
    """

    def __init__(self, history_length: int = 50, shrinkage: float = 10.0, decay: float = 0.95) -> None:
        self.history_length = history_length
        self._shrinkage = shrinkage
        self._decay = decay

    def fit(self, events: EventTable, known: AnyArray, num_items: int) -> FloatArray:
        gram = user_item_gram(events, known, num_items)
        norms = np.sqrt(np.diag(gram))
        similarity = gram / (np.outer(norms, norms) + self._shrinkage)
        np.fill_diagonal(similarity, 0)
        return np.asarray(similarity, dtype=np.float32)

    def weights(self) -> FloatArray:
        return (self._decay ** np.arange(self.history_length)).astype(np.float32)


class Ease(ItemToItem):
    """Ridge regression of every item on all others in closed form.

    Source: Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019.
    """

    def __init__(self, history_length: int = 50, regularisation: float = 500.0, decay: float = 0.97) -> None:
        self.history_length = history_length
        self._regularisation = regularisation
        self._decay = decay

    def fit(self, events: EventTable, known: AnyArray, num_items: int) -> FloatArray:
        gram = user_item_gram(events, known, num_items)
        gram[np.diag_indices(num_items)] += self._regularisation
        precision = linalg.inv(gram, overwrite_a=True, check_finite=False, assume_a="pos")
        matrix = precision / -np.diag(precision)
        np.fill_diagonal(matrix, 0)
        return np.asarray(matrix, dtype=np.float32)

    def weights(self) -> FloatArray:
        return (self._decay ** np.arange(self.history_length)).astype(np.float32)


BASELINES: Final[dict[str, Callable[[], ItemToItem]]] = {"item_knn": ItemKNN, "markov": Markov, "ease": Ease}
"""The item-to-item baselines of every report."""


def recent_matrix(events: EventTable, rows: LongArray, weights: FloatArray, num_items: int) -> sparse.csr_matrix:
    """Weights of the recent items of each query [B, I]; a repeated item keeps the weight of its newest place."""
    places = rows[:, None] - 1 - np.arange(len(weights))
    queries, lags = np.nonzero(places >= events.offsets[events.subject[rows]][:, None])
    keys = queries * num_items + events.item_row[places[queries, lags]]
    keys, newest = np.unique(keys, return_index=True)
    entries = (weights[lags[newest]], (keys // num_items, keys % num_items))
    return sparse.csr_matrix(entries, shape=(len(rows), num_items), dtype=np.float32)


def pair_counts(events: EventTable, known: AnyArray, num_items: int, weights: FloatArray) -> FloatArray:
    """Weighted counts [I, I] of (earlier item, later item) of a subject, up to len(weights) places apart."""
    counts = np.zeros(num_items * num_items, dtype=np.float64)
    later = np.flatnonzero(known)
    for chunk in np.array_split(later, len(later) * len(weights) // _PAIR_CHUNK + 1):
        earlier = chunk[:, None] - 1 - np.arange(len(weights))
        place, lag = np.nonzero(earlier >= events.offsets[events.subject[chunk]][:, None])
        keys = events.item_row[earlier[place, lag]].astype(np.int64) * num_items + events.item_row[chunk[place]]
        counts += np.bincount(keys, weights=weights[lag], minlength=len(counts))
    return counts.reshape(num_items, num_items).astype(np.float32)


def user_item_gram(events: EventTable, known: AnyArray, num_items: int) -> FloatArray:
    """Number of subjects that had both items [I, I] float32."""
    keys = np.unique(events.subject[known].astype(np.int64) * num_items + events.item_row[known])
    entries = (np.ones(len(keys), dtype=np.float32), (keys // num_items, keys % num_items))
    matrix = sparse.csc_matrix(entries, shape=(len(events.subject_ids), num_items))
    gram = np.empty((num_items, num_items), dtype=np.float32)
    step = max(1, _PAIR_CHUNK // num_items)
    for start in range(0, num_items, step):  # a subject that had everything makes the product dense
        gram[start : start + step] = (matrix[:, start : start + step].T @ matrix).toarray()
    return gram
