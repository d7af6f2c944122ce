"""Threads of one operation wait for each other: all of them have to run, so there are no more than free cores.

OpenMP's threads spin while they wait. With as many threads as cores, one busy neighbour takes the core that the others
wait for: training then loses two thirds of its rate, and half of it where the threads sleep instead. With one
thread less nobody waits.
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
"""A core counts as free if others use less of it than this."""


class ThreadsByLoad(threading.local):
    """Sets how many threads the operations of the calling thread may use; each calling thread has its own.

    Args:
        most: threads where no other process wants a core.
        set_threads: for example `torch.set_num_threads`.
        fixed: as many as `most`, whatever else runs.
    """

    def __init__(self, most: int, set_threads: Callable[[int], None], *, fixed: bool = False) -> None:
        self._most, self._set_threads, self._threads = most, set_threads, most
        self._fixed = fixed or most == 1
        set_threads(most)
        self._looked, self._own_s = time.monotonic(), time.process_time()
        psutil.cpu_percent()

    def follow(self) -> None:
        """Looks at the machine, now and then only; for between two operations."""
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
    """Threads that can all run.

    Args:
        most: more are not wanted.
        num_cores: of the machine.
        others: cores that other processes use.
    """
    return min(most, max(1, int(num_cores - others + _NEARLY)))
