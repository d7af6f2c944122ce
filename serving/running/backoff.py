"""Backoff: a store that does not answer is not asked for a moment, so that requests do not wait for it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, TypeVarTuple

from contracts.errors import StoreError

FREE_FAILURES: Final = 3
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
SHORTEST_PATIENCE_S: Final = 0.02
"""Time-outs shorter than this do not count as failures of the store."""
_AnswerT = TypeVar("_AnswerT")
_MessagesT = TypeVarTuple("_MessagesT")


class Backoff:
    """After a few failures in a row calls fail at once during a pause, which doubles up to a second.

    One call is let through after each pause, so a store is used again within a second of its return.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._asked_again = 0.0

    async def ask(self, call: Callable[[*_MessagesT], Awaitable[_AnswerT]], *messages: *_MessagesT) -> _AnswerT:
        """The answer of a call with these messages.

        Raises:
            StoreError: there is a pause, or the call raises it.
        """
        left_s = self._asked_again - self._clock()
        if left_s > 0:
            raise StoreError(f"it failed {self._failures} times in a row and is asked again in {left_s:.2f} s")
        if self._failures >= FREE_FAILURES:
            self._pause()  # for other calls until this one has an answer
        started = self._clock()
        try:
            answer = await call(*messages)
        except (StoreError, TimeoutError) as error:
            if isinstance(error, StoreError) or self._clock() - started >= SHORTEST_PATIENCE_S:
                self._failures += 1
            if self._failures >= FREE_FAILURES:
                self._pause()
            raise
        self._failures = 0
        self._asked_again = 0.0
        return answer

    def _pause(self) -> None:
        doubled = FIRST_PAUSE_S * 2.0 ** min(self._failures - FREE_FAILURES, 10)
        self._asked_again = self._clock() + min(doubled, LONGEST_PAUSE_S)
