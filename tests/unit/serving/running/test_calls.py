"""The ways to call a stage."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from contracts.errors import BundleError
from serving.running.calls import AsyncCall, DirectCall, RemoteCall, ThreadCall
from serving.running.load import ComputeThread
from serving.running.times import MIN_CALLS

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

    call = ThreadCall(work, ComputeThread())
    answers = await asyncio.gather(*(call(number, timeout_s=INF) for number in range(5)))
    assert [number for number, _ in answers] == list(range(5))
    assert {name for _, name in answers} == {"compute_0"}


@pytest.mark.parametrize(
    ("requests", "usually_s", "sometimes_s", "here"),
    [(1, 0.001, 0.001, True), (1, 0.001, 0.05, True), (1, 0.006, 0.001, False), (2, 0.001, 0.001, False)],
)
async def test_short_calls_of_a_lone_request_need_no_thread(
    monkeypatch: pytest.MonkeyPatch, requests: int, usually_s: float, sometimes_s: float, here: bool
) -> None:
    now, times = 0.0, itertools.cycle([usually_s, sometimes_s, usually_s])

    def work(batch: list[str]) -> str:
        nonlocal now
        now += next(times)
        return threading.current_thread().name

    monkeypatch.setattr("serving.running.calls.time", SimpleNamespace(perf_counter=lambda: now))
    call = ThreadCall(work, ComputeThread())
    names = [await call(["request"] * requests, timeout_s=INF) for _ in range(MIN_CALLS + 1)]
    assert names[0] == "compute_0"  # nothing is known about it yet
    assert names[-1] == (threading.current_thread().name if here else "compute_0")


async def test_calls_are_announced_in_the_thread_that_makes_them() -> None:
    told: list[str] = []
    with ComputeThread() as thread:
        thread.before_call = lambda: told.append(threading.current_thread().name)
        call = ThreadCall(lambda batch: batch, thread)
        for _ in range(MIN_CALLS + 1):
            await call(["lone"], timeout_s=INF)
    assert told == ["compute_0"] * MIN_CALLS + [threading.current_thread().name]


async def test_a_stage_is_never_called_by_two_threads_at_once() -> None:
    busy, release = threading.Event(), threading.Event()

    def work(batch: list[str]) -> str:
        if len(batch) > 1:
            busy.set()
            release.wait(20)
        return threading.current_thread().name

    with ComputeThread() as thread:
        call = ThreadCall(work, thread)
        for _ in range(MIN_CALLS):
            await call(["lone"], timeout_s=INF)
        assert await call(["lone"], timeout_s=INF) == threading.current_thread().name
        long = asyncio.create_task(call(["one", "of", "many"], timeout_s=INF))
        await asyncio.to_thread(busy.wait, 20)
        lone = asyncio.create_task(call(["lone"], timeout_s=INF))
        await asyncio.sleep(0)
        release.set()
        assert await long == await lone == "compute_0"
        assert await call(["lone"], timeout_s=INF) == threading.current_thread().name


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


async def test_remote_call_names_the_stage() -> None:
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


async def test_a_computing_stage_is_given_up_when_its_time_is_over_and_later_not_started() -> None:
    release, started = threading.Event(), 0

    def stuck(batch: list[int]) -> None:
        nonlocal started
        started += 1
        release.wait(5)

    with ComputeThread() as thread:
        call = ThreadCall(stuck, thread)
        with pytest.raises(TimeoutError):
            await call([1], timeout_s=0.01)
        with pytest.raises(TimeoutError):
            await call([1], timeout_s=0.01)
        release.set()
    assert started == 1, "the second was still waiting for the thread"


async def test_a_stage_that_is_usually_too_slow_is_not_started() -> None:
    with ComputeThread() as thread:
        call = ThreadCall(lambda batch: time.sleep(0.005), thread)
        for _ in range(MIN_CALLS):
            await call([1], timeout_s=INF)
        with pytest.raises(TimeoutError, match=r"^$"):  # the first one is tried
            await call([1], timeout_s=0.001)
        with pytest.raises(TimeoutError, match=r"1\.0 ms are left, it usually takes"):
            await call([1], timeout_s=0.001)
        await call([1] * 32, timeout_s=0.5)  # nothing is known of batches of this size
