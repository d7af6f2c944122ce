"""Calls that run concurrently on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import Generic, TypeVar

_AnswerT = TypeVar("_AnswerT")
_OtherT = TypeVar("_OtherT")


class Background(Generic[_AnswerT]):
    """A call that is started early and awaited later; leaving the block cancels it unless it is done."""

    def __init__(self, call: Awaitable[_AnswerT]) -> None:
        self._task = asyncio.ensure_future(call)

    def __enter__(self) -> asyncio.Task[_AnswerT]:
        return self._task

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._task.done():
            self._task.cancel()
        elif not self._task.cancelled():
            self._task.exception()  # retrieved, or asyncio warns if nobody awaited it


async def together(first: Awaitable[_AnswerT], second: Awaitable[_OtherT]) -> tuple[_AnswerT, _OtherT]:
    """Both answers, as from `asyncio.gather`; but the first call needs no task, and its error cancels the second.

    The second call starts when the first one awaits something.
    """
    with Background(second) as beside:
        return await first, await beside
