"""Batches requests of similar budgets together, so that long budgets do not delay requests with short ones."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Set
from typing import Generic

from contracts.errors import OverloadedError
from serving.gateway.queue.batcher import AnswerT, Batcher, RequestT
from serving.gateway.queue.config import BatcherConfig

_PATIENT_SHARE = 0.5


class BudgetLanes(Generic[RequestT, AnswerT]):
    """One batcher for each doubling of the budget, made when it is first needed.

    All lanes together hold no more requests than a single batcher would. Lanes above the default budget hold at most
    half of that, because their requests may stay long.

    Args:
        make: makes a batcher.
        config: settings of a batcher.
        usual_ms: the default budget.
    """

    def __init__(self, make: Callable[[], Batcher[RequestT, AnswerT]], config: BatcherConfig, usual_ms: float) -> None:
        self._make = make
        self._config = config
        self._usual = _lane(usual_ms)
        self._most = config.max_queued + config.max_running_batches * config.max_batch_size
        self._lanes: dict[int, Batcher[RequestT, AnswerT]] = {}

    @property
    def running(self) -> Set[asyncio.Task[None]]:
        """The running batches."""
        return {task for batcher in self._lanes.values() for task in batcher.running}

    async def submit(self, request: RequestT, budget_ms: float) -> AnswerT:
        """The answer to one request.

        Raises:
            OverloadedError: too many requests wait or run.
        """
        lane = _lane(budget_ms)
        if len(self._lanes) > 1 or lane > self._usual:
            self._check_room(lane)
        batcher = self._lanes.get(lane)
        if batcher is None:
            batcher = self._lanes[lane] = self._make()
        return await batcher.submit(request)

    def _check_room(self, lane: int) -> None:
        held = {number: batcher.num_held for number, batcher in self._lanes.items()}
        patient = sum(count for number, count in held.items() if number > self._usual)
        if sum(held.values()) >= self._most or (lane > self._usual and patient >= self._most * _PATIENT_SHARE):
            raise OverloadedError(
                f"{sum(held.values())} requests wait or run already, {patient} of them with a long budget; "
                f"try again after {self._config.retry_after_s} s",
                retry_after_s=self._config.retry_after_s,
            )


def _lane(budget_ms: float) -> int:
    return math.frexp(budget_ms)[1]
