"""From a checked request to a written answer: time range, batch, pipeline, metadata."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from pydantic import Field

from contracts.bundle import Bundle
from contracts.clock import DAY_S, Clock, name_to_day
from contracts.config import StrictConfig
from contracts.errors import RequestError
from contracts.messages import PipelineResult, RequestBatch
from serving.gateway.api import RecommendationRequest, RecommendationResponse, encode
from serving.gateway.batcher import Batcher, BatcherConfig
from serving.gateway.catalogue import Catalogue
from serving.gateway.draws import Draw, DrawReader, gather_draws
from serving.gateway.limits import LimitReader, Limits, gather_limits
from serving.pipeline import RecommenderPipeline
from serving.stages.reranking import RerankingConfig

_DEGRADED_WINDOW_S: Final = 60.0


class ServiceConfig(StrictConfig):
    """What a request may cost."""

    budget_ms: float = Field(default=100.0, gt=0)
    """Milliseconds from arrival to answer; stages that would take longer are replaced or left out."""
    batch: BatcherConfig = BatcherConfig()
    """How requests gather."""


class Asked(NamedTuple):
    """A checked request, its id, its limits, and how its list is drawn."""

    request_id: str
    request: RecommendationRequest
    limits: Limits | None = None
    draw: Draw | None = None


class RecommendationService:
    """Answers recommendation requests of one bundle.

    Args:
        bundle: the bundle that its pipeline serves.
        pipeline: the pipeline.
        catalogue: metadata of the items.
        clock: tells now.
        config: budget and batches.
        reranking: how lists are drawn where a request says nothing else; None = greedily.
    """

    def __init__(
        self,
        bundle: Bundle,
        pipeline: RecommenderPipeline,
        catalogue: Catalogue,
        clock: Clock,
        config: ServiceConfig,
        reranking: RerankingConfig | None = None,
    ) -> None:
        self._version = bundle.version
        self._pipeline = pipeline
        self._catalogue = catalogue
        self._clock = clock
        self._config = config
        self._first_time = bundle.transforms.calendar.start_of_day(name_to_day(bundle.manifest.first_day))
        self._batcher: Batcher[Asked, bytes] = Batcher(self._answer, config.batch)
        self._limits = LimitReader(bundle)
        self._draws = DrawReader(reranking or RerankingConfig())
        self._degraded_at: dict[str, float] = {}

    async def recommend(self, request: RecommendationRequest, request_id: str) -> bytes:
        """The answer as JSON.

        Raises:
            RequestError: the timestamp is out of range, or a filter cannot be meant.
            OverloadedError: too many requests wait.
            StageError: a stage failed and its policy is `fail`.
        """
        return await self._batcher.submit(self.check(request, request_id))

    def check(self, request: RecommendationRequest, request_id: str) -> Asked:
        """The request with its names looked up.

        Raises:
            RequestError: the timestamp is out of range, or a filter cannot be meant.
        """
        self._check_time(request.timestamp or 0)
        return Asked(request_id, request, self._limits(request), self._draws(request, request_id))

    async def run(self, asked: Sequence[Asked], budget_ms: Sequence[float]) -> PipelineResult:
        """Runs the pipeline for requests that may still take some milliseconds each."""
        requests = [one.request for one in asked]
        batch = RequestBatch(
            bundle_version=self._version,
            now=self._clock.now(),
            request_ids=tuple(one.request_id for one in asked),
            user_ids=tuple(request.user_id for request in requests),
            session_ids=tuple(request.session_id for request in requests),
            recent_items=tuple(tuple(request.recent_items) for request in requests),
            device_types=tuple(request.device_type for request in requests),
            context_time=np.array([request.timestamp or 0 for request in requests], dtype=np.int64),
            k=np.array([request.k for request in requests], dtype=np.int32),
            budget_ms=np.array(budget_ms, dtype=np.float32),
            constraints=gather_limits([one.limits for one in asked]),
            rerank=gather_draws([one.draw for one in asked]),
        )
        result = await self._pipeline.run(batch)
        seen_at = time.monotonic()
        self._degraded_at.update({part: seen_at for parts in result.degraded for part in parts})
        return result

    @property
    def degraded(self) -> tuple[str, ...]:
        """Parts that were replaced or left out in the last minute."""
        since = time.monotonic() - _DEGRADED_WINDOW_S
        return tuple(sorted(part for part, at in self._degraded_at.items() if at > since))

    async def _answer(self, asked: Sequence[Asked], waited_ms: Sequence[float]) -> list[bytes]:
        result = await self.run(asked, [max(self._config.budget_ms - waited, 0.0) for waited in waited_ms])
        ranked, starts = result.ranked, result.ranked.offsets
        rows, scores = ranked.rows.tolist(), ranked.scores.tolist()
        return [
            encode(
                RecommendationResponse(
                    request_id=one.request_id,
                    user_id=one.request.user_id,
                    bundle_version=ranked.bundle_version,
                    degraded=result.degraded[place],
                    recommendations=[
                        self._catalogue.recommendation(rank, rows[at], scores[at])
                        for rank, at in enumerate(range(starts[place], starts[place + 1]), start=1)
                    ],
                )
            )
            for place, one in enumerate(asked)
        ]

    def _check_time(self, timestamp: int) -> None:
        last = self._clock.now() + DAY_S
        if timestamp and not self._first_time <= timestamp <= last:
            raise RequestError(
                f"timestamp {timestamp} is out of range; expected Unix seconds within [{self._first_time}, {last}], "
                "from the first day of the data to a day from now, or 0 for now",
                first=self._first_time,
                last=last,
            )
