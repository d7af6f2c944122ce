"""The three ways to call a stage: on the event loop, in the compute thread, in another deployment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, Final, Protocol

from contracts.errors import BundleError

_ATTEMPTS: Final = 3


class AsyncCall:
    """A local stage that waits for stores."""

    def __init__(self, stage: Callable[..., Awaitable[Any]]) -> None:
        self._stage = stage

    async def __call__(self, *messages: Any, timeout_s: float) -> Any:
        async with asyncio.timeout(timeout_s):
            return await self._stage(*messages)


class ThreadCall:
    """A local stage that computes; all of a replica's share one thread, so the event loop only parses and writes.

    A running tensor call cannot be cancelled: it gets no time limit, the pipeline starts it only while budget is left.
    """

    def __init__(self, stage: Callable[..., Any], thread: Executor) -> None:
        self._stage = stage
        self._thread = thread

    async def __call__(self, *messages: Any, timeout_s: float) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._stage, *messages)


class DirectCall:
    """A local stage called where the pipeline runs: for evaluation, which has no event loop to keep free."""

    def __init__(self, stage: Callable[..., Any]) -> None:
        self._stage = stage

    async def __call__(self, *messages: Any, timeout_s: float) -> Any:
        return self._stage(*messages)


class RemoteHandle(Protocol):
    """What this module needs of Serve's `DeploymentHandle`."""

    def remote(self, *messages: Any) -> Awaitable[Any]: ...


class RemoteCall:
    """A stage in another deployment.

    Args:
        handle: Serve's handle of the deployment.
        group: name of the stage group there.
    """

    def __init__(self, handle: RemoteHandle, group: str) -> None:
        self._handle = handle
        self._group = group

    async def __call__(self, *messages: Any, timeout_s: float) -> Any:
        """Asks another replica when one has another bundle than the messages: it is being replaced."""
        async with asyncio.timeout(timeout_s):
            for _ in range(_ATTEMPTS - 1):
                with suppress(BundleError):
                    return await self._handle.remote(self._group, *messages)
            return await self._handle.remote(self._group, *messages)
