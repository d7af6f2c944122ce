"""READ FIRST. The whole recommender on one screen: five stages in order, called by name.

Stages are local or remote (`serving.running.calls`); the pipeline cannot tell. Each is timed and counted here, gets
what is left of the budget, and has a policy for failure (`serving.running.steps`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from contracts.bundle import Bundle
from contracts.ids import IntArray
from contracts.messages import Candidates, FilterResult, PipelineResult, QueryFeatures, RequestBatch, Reranked
from contracts.options import Constraints, Ragged, RerankOptions
from contracts.seen import SeenAnswers
from contracts.user_records import UserRecords
from serving.running.beside import together
from serving.running.calls import Stage
from serving.running.refill import Lists, Refill
from serving.running.seen import EarlySeen, FilterSeen
from serving.running.steps import PipelineConfig, Steps
from serving.stages.popular import PopularItems
from serving.stages.query_features import LookedUp, QueryFeatureBuilder
from serving.stages.reranking import Reranking
from serving.stages.seen_filter import SeenReader
from serving.watching.seldom import SeldomLogger


@dataclass(frozen=True)
class Stages:
    """The five stages: what each takes and, last, what it gives.

    Attributes:
        query_features: looks subjects up and makes the features of their queries.
        retrieval: finds candidates within the limits of requests, or scores the items that are given instead.
        seen_filter: removes what subjects have seen, by what the store knows about the candidates.
        ranking: gives the candidates the ranker's logits.
        reranking: draws the final lists of k items.
    """

    query_features: Stage[RequestBatch, LookedUp]
    retrieval: Stage[QueryFeatures, Constraints | None, Ragged | None, Candidates]
    seen_filter: Stage[Candidates, SeenAnswers, FilterResult]
    ranking: Stage[QueryFeatures, Candidates, Candidates]
    reranking: Stage[Candidates, IntArray, RerankOptions | None, Reranked]


@dataclass(frozen=True)
class Fallbacks:
    """What answers a stage's messages when the stage does not; all of it runs where the pipeline runs."""

    query_features: QueryFeatureBuilder
    popular: PopularItems
    reranking: Reranking

    @classmethod
    def open(cls, bundle: Bundle, num_popular: int) -> Fallbacks:
        """Reads what they need from a bundle."""
        return cls(QueryFeatureBuilder.open(bundle), PopularItems.open(bundle, num_popular), Reranking.open(bundle))

    def anonymous(self, batch: RequestBatch) -> LookedUp:
        """The requests with their own context and recent items, nobody known."""
        return self.query_features(batch, UserRecords.anonymous(len(batch)))

    def unranked(self, queries: QueryFeatures, retrieved: Candidates) -> Candidates:
        """The order of retrieval."""
        return retrieved


class RecommenderPipeline:
    """Requests in, ranked items out.

    Attributes:
        fallbacks: as given.

    Args:
        stages: the stages.
        seen: reads what a batch's subjects have seen.
        fallbacks: what stands in for failing stages.
        config: policies.
    """

    def __init__(self, stages: Stages, seen: SeenReader, fallbacks: Fallbacks, config: PipelineConfig) -> None:
        self._stages = stages
        self._seen = EarlySeen(seen, config.store_share)
        self.fallbacks = fallbacks
        self._config = config
        self._warn = SeldomLogger(logging.getLogger(__name__))

    async def run(self, batch: RequestBatch) -> PipelineResult:
        """Recommends for a batch of requests.

        The batch has the budget of its most patient request, so that a hasty one does not spoil the others; whoever
        forms batches puts similar budgets together.

        Raises:
            StageError: a stage failed and its policy is `fail`.
        """
        steps = self.steps(batch)
        with self._seen.filter_of(batch, self._stages.seen_filter, steps) as filter_seen:
            looked_up = await steps.run(
                "query_features", self._stages.query_features, batch, instead=self.fallbacks.anonymous
            )
            steps.note_degraded(looked_up.degraded)
            return await self.rank(looked_up.features, batch, filter_seen, steps)

    async def rank(
        self,
        queries: QueryFeatures,
        batch: RequestBatch,
        filter_seen: FilterSeen | None,
        steps: Steps,
        enough: IntArray | None = None,
    ) -> PipelineResult:
        """Everything after the query features; evaluation enters here with features as of past events.

        Args:
            queries: features of B queries.
            batch: the requests that they belong to.
            filter_seen: the seen filter; None = everything passes.
            steps: the run of this batch.
            enough: candidates [B] that the filter must leave, else retrieval goes again; None = k.

        Raises:
            StageError: a stage failed and its policy is `fail`.
        """
        stages, instead = self._stages, self.fallbacks
        has_subject = [subject is not None for subject in batch.subjects]
        retrieved = await steps.run(
            "retrieval", stages.retrieval, queries, batch.constraints, batch.given, instead=instead.popular
        )
        # Side by side: to score the few items that the filter removes costs less than to wait for it. The ranker needs
        # retrieval because it reads its scores, which popular items do not have.
        scored, filtered = await together(
            steps.run("ranking", stages.ranking, queries, retrieved, instead=instead.unranked, needs="retrieval"),
            steps.run("seen_filter", filter_seen, retrieved, instead=FilterResult.unfiltered, affects=has_subject),
        )
        lists = Lists(filtered, scored)
        if filter_seen is not None:
            enough = batch.k if enough is None else enough
            lists = await self._refilled(lists, queries, batch, filter_seen, enough, steps)
        steps.count_removed(lists.filtered)
        ranked = lists.ranked
        top = await steps.run(
            "reranking", stages.reranking, ranked, batch.k, batch.rerank, instead=instead.reranking, last=True
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
        enough: IntArray,
        steps: Steps,
    ) -> Lists:
        """The lists, short ones retrieved again without what their subjects have seen; as they are if that fails."""
        short = lists.too_short(enough)
        if not len(short):
            return lists
        stages, instead = self._stages, self.fallbacks
        again = Refill(
            steps.once_more("retrieval", stages.retrieval, instead=instead.popular),
            filter_seen,
            steps.once_more("ranking", stages.ranking, instead=instead.unranked),
            queries,
            batch.constraints,
            enough,
            short,
        )
        nobody = [False] * len(batch)  # lists that stay short lack no part
        return await steps.run("seen_filter", again, lists, instead=Lists.as_they_are, affects=nobody)

    def steps(self, batch: RequestBatch) -> Steps:
        """A run for a batch."""
        return Steps(len(batch), float(batch.budget_ms.max()), self._config, self._warn)
