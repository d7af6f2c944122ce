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
from serving.gateway.http.request_ids import RequestId
from serving.gateway.queue.batcher import Batcher
from serving.gateway.queue.lanes import BudgetLanes
from serving.gateway.queue.refusals import RefusalPace
from serving.gateway.recommend.answers import write_answers
from serving.gateway.recommend.asked import Asked, RequestReader, batch_of
from serving.gateway.recommend.config import ExplorationConfig, ServiceConfig
from serving.pipeline import RecommenderPipeline
from serving.running.load import LoadMeter
from serving.stages.reranking import RerankingConfig

_DEGRADED_WINDOW_S: Final = 60.0


class BatchFacts(NamedTuple):
    """What is told about the batch that a request was in."""

    bundle_version: str
    size: int
    stage_ms: dict[str, float]
    removed: dict[str, int]


class Answer(NamedTuple):
    """An answer as JSON, and what is told about it elsewhere."""

    content: bytes
    subject: str | None
    degraded: tuple[str, ...]
    waited_ms: float
    batch: BatchFacts


BatchObserver = Callable[[PipelineResult, Sequence[float]], None]
"""Takes what the pipeline timed and counted for a batch whose requests waited so many milliseconds."""


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
        reranking: how lists are drawn where a request says nothing else; None = greedily.
        exploration: whose lists are drawn to learn from; None = nobody's.
        observe: told about every batch.
        shown: takes the lists of every batch.
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
        """The answer.

        Args:
            request: what is asked.
            request_id: how it is called.
            budget_ms: milliseconds from arrival to answer; None = as configured.

        Raises:
            RequestError: the timestamp is out of range, or a filter cannot be meant.
            OverloadedError: too many requests wait.
            StageError: a stage failed and its policy is `fail`.
        """
        return await self._submit(self._recommendations, self.check(request, request_id)._replace(budget_ms=budget_ms))

    async def rank(self, request: RankingRequest, request_id: RequestId, budget_ms: float | None = None) -> Answer:
        """Given items, ranked; takes and raises as `recommend`."""
        return await self._submit(self._rankings, self.check(request, request_id)._replace(budget_ms=budget_ms))

    async def until_idle(self, timeout_s: float) -> None:
        """Waits until the batches that are under way now are answered, at most so long."""
        if running := self._recommendations.running | self._rankings.running:
            await asyncio.wait(running, timeout=timeout_s)

    def check(self, request: RecommendationRequest | RankingRequest, request_id: RequestId) -> Asked:
        """The request with its names looked up.

        Raises:
            RequestError: the timestamp is out of range, or a filter cannot be meant.
        """
        return self._read(request, request_id)

    async def run(self, asked: Sequence[Asked], budget_ms: Sequence[float]) -> PipelineResult:
        """Runs the pipeline for requests of one kind that may still take some milliseconds each."""
        result = await self._pipeline.run(
            batch_of(asked, self._version, self._clock.now(), budget_ms, self._read.context)
        )
        seen_at = time.monotonic()
        self._degraded_at.update({part: seen_at for parts in result.degraded for part in parts})
        return result

    @property
    def budget_ms(self) -> float:
        """Milliseconds of a request that names no budget."""
        return self._config.budget_ms

    @property
    def degraded(self) -> tuple[str, ...]:
        """Parts that were replaced or left out in the last minute."""
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
