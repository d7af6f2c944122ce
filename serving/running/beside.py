"""What runs beside something else on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Generic, TypeVar

_AnswerT = TypeVar("_AnswerT")
_OtherT = TypeVar("_OtherT")


class Background(Generic[_AnswerT]):
    """A call that is started early and awaited later; whoever leaves the block before its end cancels it."""

    def __init__(self, call: Coroutine[Any, Any, _AnswerT]) -> None:
        self._task = asyncio.ensure_future(call)

    def __enter__(self) -> asyncio.Task[_AnswerT]:
        return self._task

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._task.done():
            self._task.cancel()
        elif not self._task.cancelled():
            self._task.exception()  # retrieved, so that asyncio does not complain when nobody awaited it


async def together(
    first: Coroutine[Any, Any, _AnswerT], second: Coroutine[Any, Any, _OtherT]
) -> tuple[_AnswerT, _OtherT]:
    """Both answers, as `asyncio.gather` gives them, but the first call needs no task, and its error cancels the second.

    The second call starts when the first one waits for something.
    """
    with Background(second) as beside:
        return await first, await beside
