"""Forms batches: a single request starts at once; under load requests gather while a batch runs."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence, Set
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from contracts.errors import OverloadedError
from serving.gateway.queue.config import BatcherConfig
from serving.running.load import LoadMeter

_SMOOTHING: Final = 0.2
_DEVIATIONS: Final = 2.0
RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True)
class Waiting(Generic[RequestT, AnswerT]):
    """A request in the queue.

    Attributes:
        request: what was asked.
        arrived: `time.perf_counter` at arrival.
        answer: resolved by the batch.
    """

    request: RequestT
    arrived: float
    answer: asyncio.Future[AnswerT]


class Batcher(Generic[RequestT, AnswerT]):
    """Gathers requests and runs them together.

    A batch starts as soon as it is full, nothing else runs, or its oldest request waited long enough.

    Attributes:
        load: how long requests wait.
        num_held: requests that wait or run.

    Args:
        run: answers a batch in its order; also takes the milliseconds that each request has waited.
        config: sizes and limits.
        load: measures waiting; None = a meter of its own.
        yield_first: called before a batch with the milliseconds that its oldest request has waited; may wait for
            more urgent work, which does not count as time of the batch.
    """

    def __init__(
        self,
        run: Callable[[Sequence[RequestT], Sequence[float]], Awaitable[Sequence[AnswerT]]],
        config: BatcherConfig,
        load: LoadMeter | None = None,
        yield_first: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._run = run
        self._yield_first = yield_first
        self._config = config
        self.load = load or LoadMeter()
        self._batch_ms = 0.0  # running mean of the time of a batch; under load batches are full
        self._deviation_ms = 0.0  # running mean of the deviation from it
        self._queue: deque[Waiting[RequestT, AnswerT]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.num_held = 0

    @property
    def num_queued(self) -> int:
        return len(self._queue)

    @property
    def running(self) -> Set[asyncio.Task[None]]:
        """The running batches."""
        return self._running

    async def submit(self, request: RequestT) -> AnswerT:
        """The answer to one request.

        Raises:
            OverloadedError: too many requests wait.
        """
        longest_ms = self._config.max_queue_ms or math.inf
        if len(self._queue) >= self._config.max_queued or self._expected_wait_ms() > longest_ms:
            raise OverloadedError(
                f"{len(self._queue)} requests wait already; try again after {self._config.retry_after_s} s",
                retry_after_s=self._config.retry_after_s,
            )
        loop = asyncio.get_running_loop()
        waiting: Waiting[RequestT, AnswerT] = Waiting(request, time.perf_counter(), loop.create_future())
        self._queue.append(waiting)
        loop.call_soon(self._start_batches)  # after other requests that arrive in this turn of the loop
        self.num_held += 1
        try:
            return await waiting.answer
        finally:
            self.num_held -= 1

    def _expected_wait_ms(self) -> float:
        """Pessimistic milliseconds until a request that comes now starts; 0 if it fits into the next batch.

        Mean and mean deviation are estimated as TCP does for round trips (Jacobson, Congestion Avoidance and Control,
        1988).
        """
        batches_before = len(self._queue) // self._config.max_batch_size
        if not batches_before:
            return 0.0
        long_ms = self._batch_ms + _DEVIATIONS * self._deviation_ms
        return (batches_before + 1) * long_ms / self._num_allowed  # one more: the running batch must end first

    @property
    def _num_allowed(self) -> int:
        """Batches that may run at once: fewer while batches take longer than `max_batch_ms`."""
        most, longest_ms = self._config.max_running_batches, self._config.max_batch_ms or math.inf
        return most if self._batch_ms <= longest_ms else max(1, int(most * longest_ms / self._batch_ms))

    def _start_batches(self) -> None:
        while self._queue and len(self._running) < self._num_allowed:
            left_s = self._queue[0].arrived + self._config.max_wait_ms / 1000 - time.perf_counter()
            if self._running and len(self._queue) < self._config.max_batch_size and left_s > 0:
                self._wake_after(left_s)
                return
            size = min(len(self._queue), self._config.max_batch_size)
            batch = [waiting for waiting in (self._queue.popleft() for _ in range(size)) if not waiting.answer.done()]
            if batch:
                task = asyncio.get_running_loop().create_task(self._answer(batch))
                self._running.add(task)
                task.add_done_callback(self._finished)

    def _wake_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._start_batches)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start_batches()

    def _note(self, batch_ms: float) -> None:
        error_ms = batch_ms - self._batch_ms
        self._batch_ms += _SMOOTHING * error_ms
        self._deviation_ms += _SMOOTHING * (abs(error_ms) - self._deviation_ms)

    async def _answer(self, batch: list[Waiting[RequestT, AnswerT]]) -> None:
        try:
            if self._yield_first is not None:
                await self._yield_first((time.perf_counter() - batch[0].arrived) * 1000)
            started = time.perf_counter()
            waited_ms = [(started - waiting.arrived) * 1000 for waiting in batch]
            self.load.add(sum(waited_ms) / 1000, count=len(batch))
            answers = await self._run([waiting.request for waiting in batch], waited_ms)
            self._note((time.perf_counter() - started) * 1000)
        except Exception as error:
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
        else:
            for waiting, answer in zip(batch, answers, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)
