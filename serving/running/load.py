"""Load of a replica for the autoscaler: waiting time, busy share and rate of its work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

QUEUE_MS: Final = "queue_ms"
BUSY: Final = "busy"
RATE: Final = "rate"
_ParamsT = ParamSpec("_ParamsT")
_AnswerT = TypeVar("_AnswerT")


class LoadMeter:
    """Sums up work between two calls of `take`; thread-safe.

    Args:
        clock: seconds, monotonic.
        cpu_clock: CPU seconds of this process.
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, cpu_clock: Callable[[], float] = time.process_time
    ) -> None:
        self._clock, self._cpu_clock = clock, cpu_clock
        self._lock = threading.Lock()
        self._asked, self._cpu = clock(), cpu_clock()
        self._waited_s = self._worked_s = 0.0
        self._done = 0

    def add(self, waited_s: float, worked_s: float = 0.0, count: int = 1) -> None:
        """Adds pieces of work.

        Args:
            waited_s: seconds that all of them together waited.
            worked_s: seconds that they kept the worker busy.
            count: number of pieces.
        """
        with self._lock:
            self._waited_s += waited_s
            self._worked_s += worked_s
            self._done += count

    def take(self) -> dict[str, float]:
        """The load since the last call.

        `queue_ms`: mean milliseconds that work waited; `busy`: share of the time that the worker, or one core, was
        busy; `rate`: pieces of work a second.
        """
        with self._lock:
            now, cpu = self._clock(), self._cpu_clock()
            seconds = max(now - self._asked, 1e-6)
            load = {
                QUEUE_MS: 1000 * self._waited_s / max(self._done, 1),
                BUSY: min(max(self._worked_s, cpu - self._cpu) / seconds, 1.0),
                RATE: self._done / seconds,
            }
            self._asked, self._cpu = now, cpu
            self._waited_s = self._worked_s = 0.0
            self._done = 0
        return load


class ComputeThread(ThreadPoolExecutor):
    """The one compute thread of a replica.

    Attributes:
        load: waiting time and busy share of this thread.
        before_call: called before every call of a stage, in the same thread.
    """

    def __init__(self) -> None:
        super().__init__(1, thread_name_prefix="compute")
        self.load = LoadMeter()
        self.before_call: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._num_unfinished = 0

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return self._num_unfinished == 0

    def submit(
        self, fn: Callable[_ParamsT, _AnswerT], /, *args: _ParamsT.args, **kwargs: _ParamsT.kwargs
    ) -> Future[_AnswerT]:
        """As `ThreadPoolExecutor.submit`, and measures the load."""
        submitted = time.perf_counter()

        def timed() -> _AnswerT:
            started = time.perf_counter()
            try:
                return fn(*args, **kwargs)
            finally:
                self.load.add(started - submitted, time.perf_counter() - started)

        future = super().submit(timed)
        self._count(1)
        future.add_done_callback(lambda _: self._count(-1))
        return future

    def _count(self, change: int) -> None:
        with self._lock:
            self._num_unfinished += change
