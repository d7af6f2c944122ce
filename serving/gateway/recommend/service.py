"""From a checked request to a written answer: batch, pipeline, answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from contracts.bundle import Bundle
from contracts.clock import Clock
from contracts.errors import OverloadedError
from contracts.messages import PipelineResult
from recommender_api.requests import RankingRequest, RecommendationRequest
from serving.gateway.catalogue.catalogue import Catalogue
from serving.gateway.queue.batcher import Batcher
from serving.gateway.queue.lanes import BudgetLanes
from serving.gateway.queue.refusals import RefusalPace
from serving.gateway.recommend.answers import write_answers
from serving.gateway.recommend.asked import Asked, RequestReader, batch_of
from serving.gateway.recommend.config import ExplorationConfig, ServiceConfig
from serving.gateway.request_ids import RequestId
from serving.pipeline import RecommenderPipeline
from serving.running.load import LoadMeter
from serving.stages.config import RerankingConfig

_DEGRADED_WINDOW_S: Final = 60.0


class BatchFacts(NamedTuple):
    """Facts about the batch that a request was in, for logs, metrics and traces."""

    bundle_version: str
    size: int
    stage_ms: dict[str, float]
    removed: dict[str, int]


class Answer(NamedTuple):
    """An answer as JSON, and facts about it for logs, metrics and traces."""

    content: bytes
    subject: str | None
    degraded: tuple[str, ...]
    waited_ms: float
    batch: BatchFacts


BatchObserver = Callable[[PipelineResult, Sequence[float]], None]
"""Takes the measurements of a batch and the milliseconds that each of its requests waited."""


class RecommendationService:
    """Answers requests for recommendations and rankings from one bundle.

    Attributes:
        load: how long requests of both kinds wait for their batch.

    Args:
        bundle: the bundle that its pipeline serves.
        pipeline: the pipeline.
        catalogue: metadata of the items.
        clock: tells now.
        config: budget and batches.
        reranking: default reranking options; None = greedy.
        exploration: who explores; None = nobody.
        observe: called after every batch with its measurements.
        shown: called after every batch with its lists.
    """

    def __init__(
        self,
        bundle: Bundle,
        pipeline: RecommenderPipeline,
        catalogue: Catalogue,
        clock: Clock,
        config: ServiceConfig,
        reranking: RerankingConfig | None = None,
        exploration: ExplorationConfig | None = None,
        observe: BatchObserver | None = None,
        shown: Callable[[Sequence[Asked], PipelineResult], None] | None = None,
    ) -> None:
        self._version = bundle.version
        self._pipeline = pipeline
        self._catalogue = catalogue
        self._clock = clock
        self._config = config
        self._read = RequestReader(bundle, clock, reranking or RerankingConfig(), exploration or ExplorationConfig())
        self.load = LoadMeter()
        self._recommendations, self._rankings = self._lanes(), self._lanes()
        self._refusals = RefusalPace(config.refusals)
        self._observe = observe
        self._shown = shown
        self._degraded_at: dict[str, float] = {}

    async def recommend(
        self, request: RecommendationRequest, request_id: RequestId, budget_ms: float | None = None
    ) -> Answer:
        """Recommends items.

        Args:
            request: what is wanted.
            request_id: its id.
            budget_ms: milliseconds from arrival to answer; None = as configured.

        Raises:
            RequestError: the timestamp is out of range, or a filter is invalid.
            OverloadedError: too many requests wait.
            StageError: a stage failed and its policy is `fail`.
        """
        return await self._submit(self._recommendations, self.check(request, request_id)._replace(budget_ms=budget_ms))

    async def rank(self, request: RankingRequest, request_id: RequestId, budget_ms: float | None = None) -> Answer:
        """Ranks provided candidates; arguments and errors as in `recommend`."""
        return await self._submit(self._rankings, self.check(request, request_id)._replace(budget_ms=budget_ms))

    async def until_idle(self, timeout_s: float) -> None:
        """Waits until the running batches are answered, but no longer than `timeout_s`."""
        if running := self._recommendations.running | self._rankings.running:
            await asyncio.wait(running, timeout=timeout_s)

    def check(self, request: RecommendationRequest | RankingRequest, request_id: RequestId) -> Asked:
        """Checks a request and looks up its names.

        Raises:
            RequestError: the timestamp is out of range, or a filter is invalid.
        """
        return self._read(request, request_id)

    async def run(self, asked: Sequence[Asked], budget_ms: Sequence[float]) -> PipelineResult:
        """Runs the pipeline for requests of one kind that have `budget_ms` left each."""
        result = await self._pipeline.run(
            batch_of(asked, self._version, self._clock.now(), budget_ms, self._read.context)
        )
        seen_at = time.monotonic()
        self._degraded_at.update({part: seen_at for parts in result.degraded for part in parts})
        return result

    @property
    def budget_ms(self) -> float:
        """Default budget of a request in milliseconds."""
        return self._config.budget_ms

    @property
    def degraded(self) -> tuple[str, ...]:
        """Stages and lookups that were replaced or left out in the last minute."""
        since = time.monotonic() - _DEGRADED_WINDOW_S
        return tuple(sorted(part for part, at in self._degraded_at.items() if at > since))

    def _lanes(self) -> BudgetLanes[Asked, Answer]:
        batching = self._config.batching
        return BudgetLanes(lambda: Batcher(self._answer, batching, self.load), batching, self._config.budget_ms)

    async def _submit(self, lanes: BudgetLanes[Asked, Answer], asked: Asked) -> Answer:
        try:
            return await lanes.submit(asked, asked.budget_ms or self._config.budget_ms)
        except OverloadedError:
            await self._refusals.turn()
            raise

    async def _answer(self, asked: Sequence[Asked], waited_ms: Sequence[float]) -> list[Answer]:
        budgets = (one.budget_ms or self._config.budget_ms for one in asked)
        left_ms = [max(budget - waited, 0.0) for budget, waited in zip(budgets, waited_ms, strict=True)]
        result = await self.run(asked, left_ms)
        if self._observe is not None:
            self._observe(result, waited_ms)
        if self._shown is not None:
            self._shown(asked, result)
        batch = BatchFacts(result.ranked.bundle_version, len(asked), result.stage_ms, result.removed)
        contents = write_answers(asked, result, self._catalogue)
        return [
            Answer(content, one.subject, degraded, waited, batch)
            for content, one, degraded, waited in zip(contents, asked, result.degraded, waited_ms, strict=True)
        ]
