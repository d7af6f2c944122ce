"""The ways to call a stage."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from contracts.errors import BundleError
from serving.calls import AsyncCall, DirectCall, RemoteCall, ThreadCall

INF = float("inf")


class Handle:
    """Stands for Serve's handle: fails some times, then answers what it was asked."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.calls: list[tuple[Any, ...]] = []

    async def remote(self, *messages: Any) -> Any:
        self.calls.append(messages)
        if len(self.calls) <= self.failures:
            raise BundleError("asked for bundle 'a', this replica serves 'b'; ask another replica")
        return messages


async def test_thread_call_runs_in_the_compute_thread() -> None:
    def work(number: int) -> tuple[int, str]:
        return number, threading.current_thread().name

    call = ThreadCall(work, ThreadPoolExecutor(1, thread_name_prefix="compute"))
    answers = await asyncio.gather(*(call(number, timeout_s=INF) for number in range(5)))
    assert [number for number, _ in answers] == list(range(5))
    assert {name for _, name in answers} == {"compute_0"}


async def test_direct_call_runs_here() -> None:
    assert await DirectCall(lambda a, b: (a, b, threading.current_thread().name))(1, 2, timeout_s=INF) == (
        1,
        2,
        threading.current_thread().name,
    )


async def test_async_call_keeps_its_time() -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await AsyncCall(forever)(timeout_s=0.01)


async def test_remote_call_names_the_group() -> None:
    handle = Handle()
    assert await RemoteCall(handle, "ranking")("queries", "candidates", timeout_s=INF) == (
        "ranking",
        "queries",
        "candidates",
    )


async def test_remote_call_asks_another_replica_when_one_has_another_bundle() -> None:
    handle = Handle(failures=2)
    assert await RemoteCall(handle, "ranking")("x", timeout_s=INF) == ("ranking", "x")
    assert len(handle.calls) == 3


async def test_remote_call_gives_up_when_no_replica_has_the_bundle() -> None:
    handle = Handle(failures=9)
    with pytest.raises(BundleError, match="ask another replica"):
        await RemoteCall(handle, "ranking")("x", timeout_s=INF)
    assert len(handle.calls) == 3


async def test_remote_call_keeps_its_time() -> None:
    class Silent:
        async def remote(self, *messages: Any) -> Any:
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await RemoteCall(Silent(), "ranking")("x", timeout_s=0.01)
