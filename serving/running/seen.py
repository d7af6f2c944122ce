"""The seen filter of the pipeline: reads the store early and filters candidates later."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from contracts.messages import Candidates, FilterResult, RequestBatch
from contracts.seen import SeenAnswers
from serving.running.backoff import Backoff
from serving.running.beside import Background
from serving.running.calls import Stage
from serving.running.steps import Steps
from serving.stages.seen_filter import SeenEarly, SeenReader

FilterSeen: TypeAlias = Stage[Candidates, FilterResult]
"""The seen filter of one batch."""


class EarlySeen:
    """Reads the seen items of a batch while other stages run.

    Args:
        read: reads the seen items.
        store_share: share of the budget that reading may take.
    """

    def __init__(self, read: SeenReader, store_share: float) -> None:
        self._read = read
        self._store_share = store_share
        self._backoff = Backoff()

    @contextmanager
    def filter_of(
        self, batch: RequestBatch, stage: Stage[Candidates, SeenAnswers, FilterResult], steps: Steps
    ) -> Iterator[FilterSeen | None]:
        """The filter of a batch; None for provided candidates, which are ranked even if seen.

        Args:
            batch: the requests.
            stage: the seen filter stage.
            steps: notes requests whose seen items cannot be read.
        """
        if batch.provided is not None:
            yield None
            return
        with Background(self._backoff.ask(self._in_time, batch)) as early:
            yield _BatchFilter(early, stage, steps)

    async def _in_time(self, batch: RequestBatch) -> SeenEarly:
        async with asyncio.timeout(float(batch.budget_ms.max()) / 1000 * self._store_share):
            return await self._read(batch)


@dataclass(frozen=True)
class _BatchFilter:
    early: asyncio.Task[SeenEarly]
    stage: Stage[Candidates, SeenAnswers, FilterResult]
    steps: Steps

    async def __call__(self, candidates: Candidates, *, timeout_s: float) -> FilterResult:
        async with asyncio.timeout(timeout_s):
            answers = await (await self.early).about(candidates)
            if answers.unreadable:
                self.steps.left_out("seen_filter", [place in answers.unreadable for place in range(len(candidates))])
            return await self.stage(candidates, answers, timeout_s=timeout_s)
