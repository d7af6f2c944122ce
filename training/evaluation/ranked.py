"""A method's outcome by query: the target's rank and the head of the list, from scores or lists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from contracts.ids import AnyArray, BoolArray, FloatArray, IntArray, LongArray
from contracts.messages import Candidates
from contracts.top_k import top_k
from training.evaluation.metrics import refuse_nan
from training.evaluation.test_day import TestDay

LIST_K: Final = 10
ScoreBlocks = Iterable[tuple[LongArray, FloatArray]]
"""Queries [B] and their scores of all items [B, I]; -inf is never recommended."""
_BLOCK_SCORES: Final = 1_500_000
"""Scores held at once: queries of a block times items."""


@dataclass(frozen=True)
class Ranked:
    """The outcome of Q queries.

    Attributes:
        rank: the target's rank from 1 [Q]; 0 = not in the list.
        heads: the first `LIST_K` items [Q, LIST_K] ItemRow, -1 pads; methods that score all items fill them only for
            queries of the second protocol.
        scored: whether the method scored the query [Q].
    """

    rank: IntArray
    heads: IntArray
    scored: BoolArray

    @classmethod
    def empty(cls, num_queries: int) -> Ranked:
        """An outcome without scored queries, to be filled."""
        heads = np.full((num_queries, LIST_K), -1, dtype=np.int32)
        return cls(np.zeros(num_queries, dtype=np.int32), heads, np.zeros(num_queries, dtype=bool))

    def fill(self, queries: LongArray, candidates: Candidates, targets: IntArray) -> None:
        """Enters the lists of a batch, best first.

        Args:
            queries: the batch's queries [B].
            candidates: their lists.
            targets: ItemRow of all Q queries.
        """
        owners = queries[candidates.owners]
        places = np.arange(len(candidates.rows)) - candidates.offsets[candidates.owners]
        hits = candidates.rows == targets[owners]
        self.rank[owners[hits]] = places[hits] + 1
        head = places < LIST_K
        self.heads[owners[head], places[head]] = candidates.rows[head]
        self.scored[queries] = True


def rank_scores(blocks: ScoreBlocks, day: TestDay, seed: int) -> tuple[Ranked, Ranked]:
    """Ranks all launched items by score.

    Equal scores are ordered by a drawn permutation of the items, so that no method gains from the catalogue's order.

    Args:
        blocks: queries and scores, each query at most once.
        day: the queries.
        seed: of the permutation.

    Raises:
        DataError: a score is NaN.

    Returns:
        The outcome, and the outcome of the queries `day.filtered` without the items that the seen filter removes.
    """
    ties = np.random.default_rng(seed).permutation(day.num_items).astype(np.int32)
    plain, filtered = Ranked.empty(len(day)), Ranked.empty(len(day))
    for queries, scores in blocks:
        refuse_nan(scores)
        scores = np.where(day.launched_at <= day.time[queries, None], scores, np.float32(-np.inf))
        plain.rank[queries] = target_ranks(scores, day.target[queries], ties)
        listed = day.whole_day[queries]
        plain.heads[queries[listed]] = _heads(scores[listed], ties)
        day.seen.hide(scores, queries)
        filtered.rank[queries] = target_ranks(scores, day.target[queries], ties)
        plain.scored[queries] = True
        filtered.scored[queries] = day.filtered[queries]
    return plain, filtered


def _heads(scores: FloatArray, ties: IntArray) -> IntArray:
    """The first `LIST_K` items of each row, -1 pads."""
    places, values = top_k(scores, ties, LIST_K)
    rows = np.where(np.isfinite(values), np.argsort(ties)[places], -1)
    return np.pad(rows, ((0, 0), (0, LIST_K - rows.shape[1])), constant_values=-1).astype(np.int32)


def target_ranks(scores: FloatArray, target: IntArray, ties: AnyArray) -> IntArray:
    """Rank of each row's target [B], from 1; 0 where its score is -inf.

    Args:
        scores: [B, I].
        target: ItemRow [B].
        ties: [I], distinct; among equal scores the smaller comes first.
    """
    own = scores[np.arange(len(target)), target]
    above = np.count_nonzero(scores > own[:, None], axis=1)
    equal = (scores == own[:, None]) & (ties < ties[target][:, None])
    return np.where(np.isfinite(own), above + np.count_nonzero(equal, axis=1) + 1, 0).astype(np.int32)


def block_rows_for(num_items: int) -> int:
    """Queries per block, limited by the memory of the scores."""
    return max(16, _BLOCK_SCORES // num_items)
