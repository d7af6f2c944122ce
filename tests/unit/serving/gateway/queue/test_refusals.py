"""The pace of refusals, on a clock that only the test moves."""

from __future__ import annotations

import asyncio

import pytest

from serving.gateway.queue.config import RefusalConfig
from serving.gateway.queue.refusals import RefusalPace


class Time:
    """Seconds that pass when somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.sleeps: list[float] = []
        monkeypatch.setattr("serving.gateway.queue.refusals.asyncio.sleep", self.sleep)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(round(seconds, 6))
        await asyncio.Event().wait()


async def test_the_first_goes_at_once_the_next_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    pace = RefusalPace(RefusalConfig(per_s=10, max_held=2), time)
    await pace.turn()
    waiting = [asyncio.create_task(pace.turn()) for _ in range(2)]
    for _ in range(3):
        await others()
    assert time.sleeps == [0.1, 0.2]
    assert pace.num_held == 2
    await pace.turn()
    assert time.sleeps == [0.1, 0.2], "more than two are not held back"
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert pace.num_held == 0, "clients that leave are not counted"


async def test_refusals_below_the_rate_never_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    pace = RefusalPace(RefusalConfig(per_s=10), time)
    for _ in range(5):
        await pace.turn()
        time.now += 0.1001
    assert time.sleeps == []


async def others() -> None:
    """Lets other tasks run."""
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, None)
    await future
