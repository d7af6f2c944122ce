"""The three ways to call a stage: on the event loop, in the compute thread, in another deployment."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sized
from contextlib import suppress
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar, TypeVarTuple

from contracts.errors import BundleError
from serving.running.load import ComputeThread
from serving.running.times import UsualTime

_ATTEMPTS: Final = 3
_SHORT_S: Final = 0.005
"""A call for one request with a shorter median time is not worth waking a thread for."""


_MessagesT = TypeVarTuple("_MessagesT")
_AnswerT = TypeVar("_AnswerT")
_AnswerT_co = TypeVar("_AnswerT_co", covariant=True)


class Stage(Protocol[*_MessagesT, _AnswerT_co]):
    """A callable stage, local or remote: `Stage[QueryFeatures, Candidates]` takes queries and answers candidates."""

    def __call__(self, *messages: *_MessagesT, timeout_s: float) -> Awaitable[_AnswerT_co]:
        """The answer to the messages; raises TimeoutError after `timeout_s` seconds."""
        ...


StageCall: TypeAlias = Callable[..., Awaitable[Any]]
"""A stage of any type, while stages are opened, placed and warmed up; `serving.pipeline.Stages` has the types."""


class AsyncCall(Generic[*_MessagesT, _AnswerT]):
    """A local stage that waits for stores."""

    def __init__(self, stage: Callable[[*_MessagesT], Awaitable[_AnswerT]]) -> None:
        self._stage = stage

    async def __call__(self, *messages: *_MessagesT, timeout_s: float) -> _AnswerT:
        async with asyncio.timeout(timeout_s):
            return await self._stage(*messages)


class ThreadCall(Generic[*_MessagesT, _AnswerT]):
    """A local stage that computes. All stages of a replica share one thread, so that the event loop stays responsive.

    A running tensor call cannot be cancelled and keeps the thread busy, so a call is not started when calls of its size
    usually take longer than the time that is left. Short calls for one request run on the event loop while the thread
    is idle, because switching threads would take as long. Two threads never call stages at once: not every stage is
    thread-safe.
    """

    def __init__(self, stage: Callable[[*_MessagesT], _AnswerT], thread: ComputeThread) -> None:
        self._stage = stage
        self._thread = thread
        self._usual: defaultdict[int, UsualTime] = defaultdict(UsualTime)

    async def __call__(self, *messages: *_MessagesT, timeout_s: float) -> _AnswerT:
        size = _size(messages)
        usual = self._usual[size]
        if not usual.fits(timeout_s):
            raise TimeoutError(f"{1000 * timeout_s:.1f} ms are left, it usually takes {1000 * usual.p95_s:.1f} ms")
        started = time.perf_counter()

        def timed() -> _AnswerT:
            self._thread.before_call()
            try:
                return self._stage(*messages)
            finally:
                usual.add(time.perf_counter() - started)

        if size == 1 and 0 < usual.median_s < _SHORT_S and self._thread.idle:
            return timed()
        async with asyncio.timeout(timeout_s):
            return await asyncio.get_running_loop().run_in_executor(self._thread, timed)


def _size(messages: tuple[object, ...]) -> int:
    """Bits of the number of requests: batches within a factor of two take similar times."""
    first = messages[0] if messages else None
    return len(first).bit_length() if isinstance(first, Sized) else 0


class DirectCall(Generic[*_MessagesT, _AnswerT]):
    """A local stage called directly: for evaluation, which has no event loop to keep free."""

    def __init__(self, stage: Callable[[*_MessagesT], _AnswerT]) -> None:
        self._stage = stage

    async def __call__(self, *messages: *_MessagesT, timeout_s: float) -> _AnswerT:
        return self._stage(*messages)


class RemoteHandle(Protocol[_AnswerT_co]):
    """The part of Serve's `DeploymentHandle` that this module uses."""

    def remote(self, name: str, /, *messages: object) -> Awaitable[_AnswerT_co]:
        """Calls a stage by its name."""
        ...


class RemoteCall(Generic[_AnswerT]):
    """A stage in another deployment.

    Args:
        handle: Serve's handle of the deployment.
        name: of the stage there.
    """

    def __init__(self, handle: RemoteHandle[_AnswerT], name: str) -> None:
        self._handle = handle
        self._name = name

    async def __call__(self, *messages: object, timeout_s: float) -> _AnswerT:
        """Calls again if a replica has another bundle version than the messages: it is about to be replaced."""
        async with asyncio.timeout(timeout_s):
            for _ in range(_ATTEMPTS - 1):
                with suppress(BundleError):
                    return await self._handle.remote(self._name, *messages)
            return await self._handle.remote(self._name, *messages)
