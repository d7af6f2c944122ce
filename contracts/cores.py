"""Fits the number of threads to the free cores.

Threads of one operation wait for each other, and OpenMP's threads spin while they wait. With as many threads as cores,
one busy process takes the core that the other threads wait for: training then loses two thirds of its rate, or half of
it if waiting threads sleep. With one thread less, no thread waits.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Final

import psutil

_PERIOD_S: Final = 0.5
_NEARLY: Final = 0.35
"""A core counts as free if other processes use less than this share of it."""


class ThreadsByLoad(threading.local):
    """Sets how many threads the operations of the calling thread may use; each calling thread has its own.

    Args:
        most: threads when no other process uses a core.
        set_threads: for example `torch.set_num_threads`.
        fixed: whether to always use `most` threads.
    """

    def __init__(self, most: int, set_threads: Callable[[int], None], *, fixed: bool = False) -> None:
        self._most, self._set_threads, self._threads = most, set_threads, most
        self._fixed = fixed or most == 1
        set_threads(most)
        self._looked, self._own_s = time.monotonic(), time.process_time()
        psutil.cpu_percent()

    def follow(self) -> None:
        """Adjusts the threads if the last look was long enough ago; call it between two operations."""
        if self._fixed or (passed := time.monotonic() - self._looked) < _PERIOD_S:
            return
        num_cores, own_s = os.cpu_count() or 1, time.process_time()
        busy = num_cores * psutil.cpu_percent() / 100
        others = max(busy - (own_s - self._own_s) / passed, 0.0)
        self._looked, self._own_s = self._looked + passed, own_s
        threads = threads_for(self._most, num_cores, others)
        if threads != self._threads:
            self._set_threads(threads)
            self._threads = threads


def threads_for(most: int, num_cores: int, others: float) -> int:
    """Number of threads that can all run at once.

    Args:
        most: upper bound.
        num_cores: cores of the machine.
        others: cores in use by other processes.
    """
    return min(most, max(1, int(num_cores - others + _NEARLY)))
