"""READ FIRST. The whole recommender on one screen: five stages in order, called by name.

Stages are local or remote (`serving.running.calls`); the pipeline cannot tell. Each is timed and counted here, gets
what is left of the budget, and has a policy for failure (`serving.running.steps`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from contracts.bundle import Bundle
from contracts.ids import IntArray, LongArray
from contracts.messages import Candidates, FilterResult, PipelineResult, QueryFeatures, RequestBatch, Reranked
from contracts.options import Constraints, Ragged, RerankOptions
from contracts.seen import SeenAnswers
from serving.running.backoff import Backoff
from serving.running.refill import Lists, refill, too_short
from serving.running.steps import Background, PipelineConfig, Steps
from serving.stages.popular import PopularItems
from serving.stages.query_features import LookedUp, QueryFeatureBuilder
from serving.stages.reranking import Reranking
from serving.stages.seen_filter import SeenEarly, SeenReader
from serving.stages.user_lookup import UserRecords
from serving.watching.seldom import SeldomLogger


class QueryFeaturesStage(Protocol):
    """Requests to the features of their queries."""

    async def __call__(self, batch: RequestBatch, /, *, timeout_s: float) -> LookedUp: ...


class RetrievalStage(Protocol):
    """Queries to candidates, within the limits of requests; provided ones are scored instead."""

    async def __call__(
        self, queries: QueryFeatures, constraints: Constraints | None, given: Ragged | None, /, *, timeout_s: float
    ) -> Candidates: ...


class SeenFilterStage(Protocol):
    """Candidates to those that their subjects have not seen, given what the store knows about them."""

    async def __call__(self, candidates: Candidates, answers: SeenAnswers, /, *, timeout_s: float) -> FilterResult: ...


class RankingStage(Protocol):
    """Candidates with retrieval scores to the same with the ranker's logits."""

    async def __call__(self, queries: QueryFeatures, candidates: Candidates, /, *, timeout_s: float) -> Candidates: ...


class RerankingStage(Protocol):
    """Ranked candidates to the final lists of k items."""

    async def __call__(
        self, ranked: Candidates, k: IntArray, options: RerankOptions | None, /, *, timeout_s: float
    ) -> Reranked: ...


@dataclass(frozen=True)
class Stages:
    """The five stages, local or remote; each answers within the time or raises a TimeoutError."""

    query_features: QueryFeaturesStage
    retrieval: RetrievalStage
    seen_filter: SeenFilterStage
    ranking: RankingStage
    reranking: RerankingStage


@dataclass(frozen=True)
class Fallbacks:
    """What stands in for a stage that does not answer; all of it runs where the pipeline runs."""

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


FilterSeen = Callable[[Candidates, float], Awaitable[FilterResult]]
"""Filters candidates within some seconds."""


class RecommenderPipeline:
    """Requests in, ranked items out.

    Args:
        stages: the stages.
        seen: reads what a batch's subjects have seen.
        fallbacks: what stands in for failing stages.
        config: policies.
    """

    def __init__(self, stages: Stages, seen: SeenReader, fallbacks: Fallbacks, config: PipelineConfig) -> None:
        self._stages = stages
        self._seen = seen
        self._fallbacks = fallbacks
        self._config = config
        self._warn = SeldomLogger(logging.getLogger(__name__))
        self._seen_backoff = Backoff()

    async def run(self, batch: RequestBatch) -> PipelineResult:
        """Recommends for a batch of requests.

        The batch has the budget of its most patient request, so that a hasty one does not spoil the others; whoever
        forms batches puts similar budgets together.

        Raises:
            StageError: a stage failed and its policy is `fail`.
        """
        steps = Steps(len(batch), float(batch.budget_ms.max()), self._config, self._warn)
        async with Background(self._read_seen(batch) if batch.given is None else _nothing()) as early:

            async def filter_seen(candidates: Candidates, timeout_s: float) -> FilterResult:
                async with asyncio.timeout(timeout_s):
                    answers = await (await early).about(candidates)
                    if answers.unreadable:
                        steps.left_out("seen_filter", [place in answers.unreadable for place in range(len(batch))])
                    return await self._stages.seen_filter(candidates, answers, timeout_s=timeout_s)

            looked_up: LookedUp = await steps.run(
                "query_features",
                lambda timeout_s: self._stages.query_features(batch, timeout_s=timeout_s),
                instead=lambda: self._fallbacks.anonymous(batch),
            )
            steps.note_degraded(looked_up.degraded)
            has_subject = [subject is not None for subject in batch.subjects]
            return await self.rank(looked_up.features, batch, filter_seen, steps, has_subject)

    async def _read_seen(self, batch: RequestBatch) -> SeenEarly:
        async def in_time() -> SeenEarly:
            async with asyncio.timeout(float(batch.budget_ms.max()) / 1000 * self._config.store_share):
                return await self._seen(batch)

        return await self._seen_backoff.ask(in_time)

    async def rank(
        self,
        queries: QueryFeatures,
        batch: RequestBatch,
        filter_seen: FilterSeen,
        steps: Steps,
        has_subject: list[bool] | None = None,
        enough: IntArray | None = None,
    ) -> PipelineResult:
        """Everything after the user features; evaluation enters here with features as of past events.

        Args:
            queries: features of B queries.
            batch: how many items they want, and out of which.
            filter_seen: the seen filter; given items pass without it.
            steps: the run that this belongs to.
            has_subject: requests [B] that have a seen filter at all; None = all.
            enough: candidates [B] that the seen filter must leave, else retrieval goes again; None = those wanted.
        """
        retrieved: Candidates = await steps.run(
            "retrieval",
            lambda timeout_s: self._stages.retrieval(queries, batch.constraints, batch.given, timeout_s=timeout_s),
            instead=lambda: self._fallbacks.popular(queries, batch.constraints, batch.given),
        )
        scored = retrieved
        async with Background(self._filter(retrieved, batch, filter_seen, steps, has_subject)) as filtering:
            if "retrieval" in steps.replaced_stages:
                steps.replaced("ranking")  # the ranker reads retrieval scores, which popular items do not have
            else:  # beside the filter: to score the few items that it removes costs less than to wait for it
                scored = await steps.run(
                    "ranking",
                    lambda timeout_s: self._stages.ranking(queries, retrieved, timeout_s=timeout_s),
                    instead=lambda: retrieved,
                )
            filtered = await filtering
        lists = Lists(retrieved, scored, filtered.keep)
        enough = batch.k if enough is None else enough
        if len(short := too_short(filtered, enough)):
            lists = await self._refill(lists, filtered.reason, short, enough, queries, batch, filter_seen, steps)
        steps.count_removed(FilterResult(lists.retrieved, lists.keep, filtered.reason))
        ranked = lists.scored.where(lists.keep)
        top: Reranked = await steps.run(
            "reranking",
            lambda timeout_s: self._stages.reranking(ranked, batch.k, batch.rerank, timeout_s=timeout_s),
            instead=lambda: self._fallbacks.reranking(ranked, batch.k, batch.rerank),
            last=True,
        )
        return PipelineResult(
            top.items, top.propensities, ranked, lists.retrieved, steps.degraded, steps.stage_ms, steps.removed
        )

    async def _refill(
        self,
        lists: Lists,
        reason: str,
        short: LongArray,
        enough: IntArray,
        queries: QueryFeatures,
        batch: RequestBatch,
        filter_seen: FilterSeen,
        steps: Steps,
    ) -> Lists:
        """The lists, those of `short` requests retrieved without what they have seen; as they were if that fails."""

        async def again(timeout_s: float) -> Lists:
            async def retrieve(some: QueryFeatures, limits: Constraints) -> Candidates:
                if "retrieval" in steps.replaced_stages:
                    return self._fallbacks.popular(some, limits)
                return await self._stages.retrieval(some, limits, None, timeout_s=timeout_s)

            async with asyncio.timeout(timeout_s):
                filtered = FilterResult(lists.retrieved, lists.keep, reason)
                found = await refill(
                    filtered,
                    short,
                    enough,
                    queries,
                    batch.constraints,
                    retrieve,
                    lambda candidates: filter_seen(candidates, timeout_s),
                )
                scored = found.candidates
                if "ranking" not in steps.replaced_stages:
                    scored = await self._stages.ranking(queries.take(short), scored, timeout_s=timeout_s)
            return lists.with_part(short, Lists(found.candidates, scored, found.keep))

        nobody = [False] * len(queries)  # lists that stay short lack no part
        return await steps.run("seen_filter", again, instead=lambda: lists, affects=nobody)

    async def _filter(
        self,
        retrieved: Candidates,
        batch: RequestBatch,
        filter_seen: FilterSeen,
        steps: Steps,
        has_subject: list[bool] | None,
    ) -> FilterResult:
        if batch.given is not None:
            return FilterResult.unfiltered(retrieved)
        return await steps.run(
            "seen_filter",
            lambda timeout_s: filter_seen(retrieved, timeout_s),
            instead=lambda: FilterResult.unfiltered(retrieved),
            affects=has_subject,
        )


async def _nothing() -> None:
    return None
