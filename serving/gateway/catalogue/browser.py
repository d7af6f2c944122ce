"""Queries on the whole catalogue: run by one thread, in bounded number and time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from contracts.errors import OverloadedError, SlowBrowseError

_RETRY_AFTER_S: Final = 1
_AnswerT = TypeVar("_AnswerT")


class Deadline:
    """The deadline of a query.

    Args:
        timeout_s: seconds from now.
    """

    def __init__(self, timeout_s: float = float("inf")) -> None:
        self._timeout_s = timeout_s
        self._at = time.monotonic() + timeout_s

    def check(self) -> None:
        """Checks that there is time left.

        Raises:
            SlowBrowseError: the deadline has passed.
        """
        if time.monotonic() >= self._at:
            raise SlowBrowseError(
                f"the catalogue was not searched within {self._timeout_s:g} s; ask for a category or longer words",
                retry_after_s=_RETRY_AFTER_S,
            )

    def steps(self, size: int, step: int) -> Iterator[int]:
        """Starts of the steps through `size` rows; checks the deadline before each."""
        for start in range(0, size, step):
            self.check()
            yield start


class Browser:
    """Runs queries one after the other, so that recommendations keep most of the machine.

    Args:
        max_waiting: queries that may wait or run.
        timeout_s: seconds that a query may wait and run.
    """

    def __init__(self, max_waiting: int, timeout_s: float) -> None:
        self._max_waiting = max_waiting
        self._timeout_s = timeout_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="browse")
        self._num_waiting = 0

    async def run(self, answer: Callable[..., _AnswerT], *question: object) -> _AnswerT:
        """The answer of a query; its function gets the deadline as the last argument.

        Raises:
            OverloadedError: too many queries wait.
            SlowBrowseError: the deadline has passed.
        """
        if self._num_waiting >= self._max_waiting:
            raise OverloadedError(
                f"{self._num_waiting} questions about the catalogue wait already; try again after {_RETRY_AFTER_S} s",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._num_waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, partial(answer, *question, Deadline(self._timeout_s)))
        finally:
            self._num_waiting -= 1
