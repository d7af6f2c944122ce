"""Questions about the whole catalogue: computed by one thread, a bounded number of them, each within a time."""

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
    """When an answer has to be there.

    Args:
        timeout_s: seconds from now.
    """

    def __init__(self, timeout_s: float = float("inf")) -> None:
        self._timeout_s = timeout_s
        self._at = time.monotonic() + timeout_s

    def check(self) -> None:
        """Asks whether there is time left.

        Raises:
            SlowBrowseError: there is none.
        """
        if time.monotonic() >= self._at:
            raise SlowBrowseError(
                f"the catalogue was not searched within {self._timeout_s:g} s; ask for a category or longer words",
                retry_after_s=_RETRY_AFTER_S,
            )

    def steps(self, size: int, step: int) -> Iterator[int]:
        """The starts of so many pieces; checks before each of them."""
        for start in range(0, size, step):
            self.check()
            yield start


class Browser:
    """Answers such questions one after the other, so that they leave the machine to recommendations.

    Args:
        max_waiting: questions that may wait or be under way.
        timeout_s: seconds that one may wait and be computed.
    """

    def __init__(self, max_waiting: int, timeout_s: float) -> None:
        self._max_waiting = max_waiting
        self._timeout_s = timeout_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="browse")
        self._num_waiting = 0

    async def run(self, answer: Callable[..., _AnswerT], *question: object) -> _AnswerT:
        """The answer to a question, to which its deadline is handed as the last argument.

        Raises:
            OverloadedError: too many questions wait.
            SlowBrowseError: the time was up.
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
