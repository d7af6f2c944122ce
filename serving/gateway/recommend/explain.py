"""Explanations of answers, made from the pipeline's result; requests that do not ask for one cost nothing."""

from __future__ import annotations

from typing import Literal

import numpy as np

from contracts.ids import AnyArray
from contracts.messages import Candidates, PipelineResult
from contracts.options import Order
from contracts.top_k import sort_keys
from recommender_api.answers import Explanation, ItemExplanation
from serving.gateway.recommend.asked import Asked
from serving.stages.reranking import sigmoid
from serving.stages.seen_filter import SEEN

Verdict = Literal["kept", "not_asked", "left_out"]


class Explained:
    """One request of a batch, explained.

    Args:
        result: of the batch.
        place: of the request in the batch.
        asked: the request.
    """

    def __init__(self, result: PipelineResult, place: int, asked: Asked) -> None:
        degraded, filters, is_provided = result.degraded[place], asked.filters, asked.provided is not None
        self._retrieved = _part(result.retrieved, place)
        self._scored = _part(result.scored, place)
        self._order = np.argsort(-sort_keys(self._scored.scores, self._scored.rows))
        self._propensities = result.propensities[slice(*result.ranked.offsets[place : place + 2])]
        self._retrieval_answers, self._ranker_answers = "retrieval" not in degraded, "ranking" not in degraded
        self._source: Literal["retrieval", "popular", "given"] = (
            "given" if is_provided else "retrieval" if self._retrieval_answers else "popular"
        )
        seen: Verdict = "kept" if asked.subject is not None and not is_provided else "not_asked"
        self._filters: dict[str, Verdict] = {
            "eligibility": "kept",
            "exclude": "kept" if filters is not None and len(filters.excluded) else "not_asked",
            "filters": "kept" if filters is not None and filters.has_columns else "not_asked",
            SEEN: "left_out" if "seen_filter" in degraded else seen,
        }
        sampled = asked.reranking is not None and asked.reranking.order != Order.GREEDY
        self._seed = asked.reranking.seed if asked.reranking is not None and sampled else None
        self._stage_ms = result.stage_ms

    @property
    def answer(self) -> Explanation:
        """The explanation of the whole answer."""
        num_retrieved, num_ranked = len(self._retrieved.rows), len(self._scored.rows)
        removed = {SEEN: num_retrieved - num_ranked} if self._filters[SEEN] == "kept" else {}
        stage_ms = {name: round(milliseconds, 3) for name, milliseconds in self._stage_ms.items()}
        return Explanation(num_retrieved, removed, num_ranked, self._seed, stage_ms)

    def item(self, rank: int, row: int) -> ItemExplanation:
        """The explanation of an item at a rank, counted from 1."""
        retrieved_at = _place(self._retrieved.rows, row)
        scored_at = _place(self._scored.rows, row)
        ranking_rank = _place(self._order, scored_at) + 1
        return ItemExplanation(
            source=self._source,
            retrieval_rank=retrieved_at + 1,
            retrieval_score=float(self._retrieved.scores[retrieved_at]) if self._retrieval_answers else None,
            filters=self._filters,
            ranking_rank=ranking_rank,
            ranking_score=float(sigmoid(self._scored.scores[scored_at])) if self._ranker_answers else None,
            rerank_move=ranking_rank - rank,
            propensity=float(self._propensities[rank - 1]),
        )


def _part(candidates: Candidates, place: int) -> Candidates:
    """The candidates of one request."""
    part = slice(*candidates.offsets[place : place + 2])
    rows, scores = candidates.rows[part], candidates.scores[part]
    return Candidates(candidates.bundle_version, rows, scores, candidates.lengths[place : place + 1])


def _place(values: AnyArray, value: int) -> int:
    """The place of a value that occurs once."""
    return int(np.flatnonzero(values == value)[0])
