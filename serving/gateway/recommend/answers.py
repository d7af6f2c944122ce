"""Writes answers: ranked items with metadata and, on request, an explanation."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.messages import PipelineResult
from recommender_api.answers import RankingResponse, RecommendationResponse, encode
from serving.gateway.catalogue.catalogue import Catalogue
from serving.gateway.recommend.asked import Asked
from serving.gateway.recommend.explain import Explained


def write_answers(asked: Sequence[Asked], result: PipelineResult, catalogue: Catalogue) -> list[bytes]:
    """The answers of a batch as JSON, one a request."""
    rows, scores, starts = result.ranked.rows.tolist(), result.ranked.scores.tolist(), result.ranked.offsets.tolist()
    answers = []
    for place, one in enumerate(asked):
        explained = Explained(result, place, one) if one.request.explain else None
        items = [
            catalogue.recommendation(rank, rows[at], scores[at], explained.item(rank, rows[at]) if explained else None)
            for rank, at in enumerate(range(starts[place], starts[place + 1]), start=1)
        ]
        head = (one.request_id, one.request.user_id, result.ranked.bundle_version, result.degraded[place], items)
        explanation = explained.answer if explained else None
        if one.provided is None:
            answers.append(encode(RecommendationResponse(*head, explanation)))
        else:
            retrieved = result.retrieved.offsets[place : place + 2]
            ineligible = one.provided.ineligible(result.retrieved.rows[slice(*retrieved)])
            answers.append(encode(RankingResponse(*head, list(one.provided.unknown), ineligible, explanation)))
    return answers
