"""READ FIRST. The whole recommender on one screen: `RecommenderPipeline.run` and `rank` call five stages by name.

A stage runs in this process or in another deployment (`serving.running.calls`); the pipeline does not know which. Each
call gets the rest of the time budget, is timed, and falls back by its policy when it fails (`serving.running.steps`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from contracts.bundle import Bundle
from contracts.ids import IntArray
from contracts.messages import Candidates, FilterResult, PipelineResult, QueryFeatures, RequestBatch, Reranked
from contracts.options import ItemFilters, Ragged, RerankingOptions
from contracts.seen import SeenAnswers
from contracts.user_records import UserRecords
from serving.running.beside import together
from serving.running.calls import Stage
from serving.running.config import PipelineConfig
from serving.running.refill import Lists, Refill
from serving.running.seen import EarlySeen, FilterSeen
from serving.running.steps import Steps
from serving.stages.popular import PopularItems
from serving.stages.query_features import LookedUp, QueryFeatureBuilder
from serving.stages.reranking import Reranking
from serving.stages.seen_filter import SeenReader
from serving.watching.rate_limited import RateLimitedLogger


@dataclass(frozen=True)
class Stages:
    """The five stages; each type lists the messages that the stage takes and, last, its answer.

    Attributes:
        query_features: looks up the subjects of requests and builds the query features.
        retrieval: finds candidates that pass the filters of their request, or scores its provided candidates.
        seen_filter: splits candidates into those that their subject has seen and those to keep.
        ranking: scores candidates with the ranker's logits.
        reranking: picks the final k items of each request.
    """

    query_features: Stage[RequestBatch, LookedUp]
    retrieval: Stage[QueryFeatures, ItemFilters | None, Ragged | None, Candidates]
    seen_filter: Stage[Candidates, SeenAnswers, FilterResult]
    ranking: Stage[QueryFeatures, Candidates, Candidates]
    reranking: Stage[Candidates, IntArray, RerankingOptions | None, Reranked]


@dataclass(frozen=True)
class Fallbacks:
    """Fallbacks of failing stages. They take the same messages and run in the pipeline's own process."""

    query_features: QueryFeatureBuilder
    popular: PopularItems
    reranking: Reranking

    @classmethod
    def open(cls, bundle: Bundle, num_popular: int) -> Fallbacks:
        """Opens the fallbacks of a bundle."""
        return cls(QueryFeatureBuilder.open(bundle), PopularItems.open(bundle, num_popular), Reranking.open(bundle))

    def anonymous(self, batch: RequestBatch) -> LookedUp:
        """Query features without stored data: from the context and recent items in the requests."""
        return self.query_features(batch, UserRecords.anonymous(len(batch)))

    def unchanged(self, queries: QueryFeatures, candidates: Candidates) -> Candidates:
        """The candidates as they are: for ranking, in the order of retrieval."""
        return candidates


class RecommenderPipeline:
    """Requests in, ranked items out.

    Attributes:
        fallbacks: replace failing stages.

    Args:
        stages: the five stages.
        seen: reads the seen items of a batch.
        fallbacks: replace failing stages.
        config: budget shares and policies.
    """

    def __init__(self, stages: Stages, seen: SeenReader, fallbacks: Fallbacks, config: PipelineConfig) -> None:
        self._stages = stages
        self._seen = EarlySeen(seen, config.store_share)
        self.fallbacks = fallbacks
        self._config = config
        self._warn = RateLimitedLogger(logging.getLogger(__name__))

    async def run(self, batch: RequestBatch) -> PipelineResult:
        """Recommends items for a batch of requests.

        The budget of a batch is the largest among its requests, so that one short budget does not degrade the others.
        The gateway batches requests of similar budgets (`serving.gateway.queue.lanes`).

        Raises:
            StageError: a stage failed and its policy is `fail`.
        """
        steps = self.steps(batch)
        with self._seen.filter_of(batch, self._stages.seen_filter, steps) as filter_seen:
            looked_up = await steps.run(
                "query_features", self._stages.query_features, batch, fallback=self.fallbacks.anonymous
            )
            steps.note_degraded(looked_up.degraded)
            return await self.rank(looked_up.features, batch, filter_seen, steps)

    async def rank(
        self,
        queries: QueryFeatures,
        batch: RequestBatch,
        filter_seen: FilterSeen | None,
        steps: Steps,
        min_kept: IntArray | None = None,
    ) -> PipelineResult:
        """Runs everything after the query features. Evaluation starts here, with features as of past events.

        Args:
            queries: features of B queries.
            batch: their requests.
            filter_seen: the seen filter of this batch; None = nothing is filtered.
            steps: runs the stages of this batch.
            min_kept: candidates [B] that the filter should keep at least, or retrieval runs again; None = k.

        Raises:
            StageError: a stage failed and its policy is `fail`.
        """
        stages, fallbacks = self._stages, self.fallbacks
        has_subject = [subject is not None for subject in batch.subjects]
        retrieved = await steps.run(
            "retrieval", stages.retrieval, queries, batch.filters, batch.provided, fallback=fallbacks.popular
        )
        # Ranking and the seen filter run at the same time: scoring a few seen items costs less than waiting for the
        # filter. Ranking needs retrieval because it reads its scores, which popular items do not have.
        scored, filtered = await together(
            steps.run("ranking", stages.ranking, queries, retrieved, fallback=fallbacks.unchanged, needs="retrieval"),
            steps.run("seen_filter", filter_seen, retrieved, fallback=FilterResult.unfiltered, affects=has_subject),
        )
        lists = Lists(filtered, scored)
        if filter_seen is not None:
            min_kept = batch.k if min_kept is None else min_kept
            lists = await self._refilled(lists, queries, batch, filter_seen, min_kept, steps)
        steps.count_removed(lists.filtered)
        ranked = lists.ranked
        top = await steps.run(
            "reranking", stages.reranking, ranked, batch.k, batch.reranking, fallback=fallbacks.reranking, last=True
        )
        retrieved = lists.filtered.candidates
        return PipelineResult(
            top.items, top.propensities, ranked, retrieved, steps.degraded, steps.stage_ms, steps.removed
        )

    async def _refilled(
        self,
        lists: Lists,
        queries: QueryFeatures,
        batch: RequestBatch,
        filter_seen: FilterSeen,
        min_kept: IntArray,
        steps: Steps,
    ) -> Lists:
        """Retrieves again for requests whose lists the seen filter leaves too short; keeps the lists if that fails."""
        short = lists.too_short(min_kept)
        if not len(short):
            return lists
        stages, fallbacks = self._stages, self.fallbacks
        refill = Refill(
            retrieval=steps.once_more("retrieval", stages.retrieval, fallback=fallbacks.popular),
            filter_seen=filter_seen,
            ranking=steps.once_more("ranking", stages.ranking, fallback=fallbacks.unchanged),
            queries=queries,
            filters=batch.filters,
            min_kept=min_kept,
            requests=short,
        )
        nobody = [False] * len(batch)  # a list that stays short is not degraded
        return await steps.run("seen_filter", refill, lists, fallback=Lists.unchanged, affects=nobody)

    def steps(self, batch: RequestBatch) -> Steps:
        """A runner for the stages of one batch."""
        return Steps(len(batch), float(batch.budget_ms.max()), self._config, self._warn)
