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
"""A lone request's call that takes less in half of the cases is not worth waking a thread for."""


_MessagesT = TypeVarTuple("_MessagesT")
_AnswerT = TypeVar("_AnswerT")
_AnswerT_co = TypeVar("_AnswerT_co", covariant=True)


class Stage(Protocol[*_MessagesT, _AnswerT_co]):
    """A stage as it is called, here or elsewhere: `Stage[QueryFeatures, Candidates]` makes candidates of queries."""

    async def __call__(self, *messages: *_MessagesT, timeout_s: float) -> _AnswerT_co:
        """Messages in, message out, within the seconds or a TimeoutError."""
        ...


StageCall: TypeAlias = Stage[*tuple[Any, ...], Any]
"""A stage of any messages, as it is opened, sent and warmed up; the pipeline knows the types of each."""


class AsyncCall(Generic[*_MessagesT, _AnswerT]):
    """A local stage that waits for stores."""

    def __init__(self, stage: Callable[[*_MessagesT], Awaitable[_AnswerT]]) -> None:
        self._stage = stage

    async def __call__(self, *messages: *_MessagesT, timeout_s: float) -> _AnswerT:
        async with asyncio.timeout(timeout_s):
            return await self._stage(*messages)


class ThreadCall(Generic[*_MessagesT, _AnswerT]):
    """A local stage that computes; all of a replica's share one thread, so the event loop only parses and writes.

    A running tensor call cannot be cancelled: whoever gives up on it leaves the thread busy. So it is not started when
    calls of such a size usually take longer than the time that is left. A lone request's calls that are known to be
    short run on the event loop itself while the thread is idle: two changes of thread would take as long. Stages are
    never called by two threads at once; some could not bear it.
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
    """Bits of the number of requests: batches whose sizes are within a factor of two take similar times."""
    first = messages[0] if messages else None
    return len(first).bit_length() if isinstance(first, Sized) else 0


class DirectCall(Generic[*_MessagesT, _AnswerT]):
    """A local stage called where the pipeline runs: for evaluation, which has no event loop to keep free."""

    def __init__(self, stage: Callable[[*_MessagesT], _AnswerT]) -> None:
        self._stage = stage

    async def __call__(self, *messages: *_MessagesT, timeout_s: float) -> _AnswerT:
        return self._stage(*messages)


class RemoteHandle(Protocol):
    """What this module needs of Serve's `DeploymentHandle`."""

    def remote(self, *messages: Any) -> Awaitable[Any]: ...


class RemoteCall:
    """A stage in another deployment.

    Args:
        handle: Serve's handle of the deployment.
        name: of the stage there.
    """

    def __init__(self, handle: RemoteHandle, name: str) -> None:
        self._handle = handle
        self._name = name

    async def __call__(self, *messages: Any, timeout_s: float) -> Any:
        """Asks another replica when one has another bundle than the messages: it is being replaced."""
        async with asyncio.timeout(timeout_s):
            for _ in range(_ATTEMPTS - 1):
                with suppress(BundleError):
                    return await self._handle.remote(self._name, *messages)
            return await self._handle.remote(self._name, *messages)
