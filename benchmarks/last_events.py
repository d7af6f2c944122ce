"""The protocol of the literature for sequences: each user's last event is the target, among all items.

The event before the last is the target of the validation, and all earlier ones are the training. Items of the user's
earlier events are masked, unless they are the target.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from contracts.ids import BoolArray, FloatArray, IntArray, LongArray
from training.evaluation import metrics
from training.evaluation.baselines.item_to_item import BASELINES, recent_matrix
from training.evaluation.config import EvaluationConfig
from training.evaluation.ranked import block_rows_for, target_ranks
from training.features.events import EventTable
from training.ranges import expand

K: Final = 10
MIN_EVENTS: Final = 3
"""Users with fewer events are left out: one event each is needed for training, validation and test."""
CUTS: Final = ("hr", "ndcg")
MAX_ITEM_TO_ITEM: Final = EvaluationConfig().max_item_to_item
METHODS: Final = ("popularity", "markov", "ease", "item_knn")
_TIES_SEED: Final = 0
_FALLBACK_WEIGHT: Final = 1e-6


@dataclass(frozen=True)
class Split:
    """Event rows of the users with enough events.

    Attributes:
        train: all but each user's last two, ascending.
        validation: each user's last but one [Q].
        test: each user's last [Q].
    """

    train: LongArray
    validation: LongArray
    test: LongArray

    @classmethod
    def of(cls, events: EventTable, min_events: int = MIN_EVENTS) -> Self:
        """Splits the events of whole subjects; those with fewer than `min_events` are left out."""
        starts, ends = events.offsets[:-1], events.offsets[1:]
        used = ends - starts >= min_events
        _, train = expand(starts[used], ends[used] - 2)
        return cls(train, ends[used] - 2, ends[used] - 1)

    def is_train(self, num_events: int) -> BoolArray:
        """Whether each event is one of the training [E]."""
        known = np.zeros(num_events, dtype=bool)
        known[self.train] = True
        return known


def ranks_of(blocks: Iterable[FloatArray], events: EventTable, rows: LongArray) -> IntArray:
    """Ranks, from 1, of the items of some events among all items that the user had not met before [Q].

    Equal scores are ordered by a drawn permutation, so that no method gains from the catalogue's order.

    Args:
        blocks: scores of all items for the events, in their order, [B, I] each.
        events: all events.
        rows: the events [Q].

    Raises:
        DataError: a score is NaN.
    """
    ranks, start = np.zeros(len(rows), dtype=np.int32), 0
    for scores in blocks:
        metrics.refuse_nan(scores)
        part = rows[start : start + len(scores)]
        places, targets = np.arange(len(part)), events.item_row[part]
        query, earlier = expand(events.offsets[events.subject[part]], part)
        unseen = scores.copy()
        unseen[query, events.item_row[earlier]] = -np.inf
        unseen[places, targets] = scores[places, targets]
        ties = np.random.default_rng(_TIES_SEED).permutation(scores.shape[1])
        ranks[start : start + len(part)] = target_ranks(unseen, targets, ties)
        start += len(part)
    return ranks


def figures_of(ranks: IntArray, prefix: str = "") -> dict[str, float]:
    """HR and NDCG of the first `K`."""
    return {
        f"{prefix}hr{K}": float(metrics.hit_rate(ranks, K).mean()),
        f"{prefix}ndcg{K}": float(metrics.ndcg(ranks, K).mean()),
    }


def baseline_ranks(events: EventTable, split: Split, rows: LongArray, num_items: int) -> dict[str, IntArray]:
    """Ranks of the items of some events by each baseline, which learns from the training events.

    Baselines with a matrix of all pairs of items are left out if the catalogue is too large for it.
    """
    known = split.is_train(len(events))
    counts = np.bincount(events.item_row[known], minlength=num_items).astype(np.float32)
    size = block_rows_for(num_items)
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    ranks = {"popularity": ranks_of((np.tile(counts, (len(part), 1)) for part in parts), events, rows)}
    fallback = counts * (_FALLBACK_WEIGHT / counts.max())
    for name, make in BASELINES.items() if num_items <= MAX_ITEM_TO_ITEM else ():
        baseline = make()
        matrix, weights = baseline.fit(events, known, num_items), baseline.weights()
        blocks = (recent_matrix(events, part, weights, num_items) @ matrix + fallback for part in parts)
        ranks[name] = ranks_of(blocks, events, rows)
    return ranks
