from __future__ import annotations

import asyncio

import pytest

from contracts.errors import StoreError
from serving.running.backoff import FIRST_PAUSE_S, FREE_FAILURES, LONGEST_PAUSE_S, SHORTEST_PATIENCE_S, Backoff


class Store:
    def __init__(self) -> None:
        self.now, self.up, self.asked = 100.0, True, 0
        self.patience_s = SHORTEST_PATIENCE_S + 0.001
        self.backoff = Backoff(lambda: self.now)

    async def call(self) -> int:
        self.asked += 1
        if not self.up:
            self.now += self.patience_s
            raise TimeoutError
        return 7

    async def fails(self, error: type[Exception]) -> None:
        with pytest.raises(error):
            await self.backoff.ask(self.call)


async def test_a_store_that_answers_is_always_asked() -> None:
    store = Store()
    for _ in range(10):
        assert await store.backoff.ask(store.call) == 7


async def test_a_dead_store_is_asked_less_and_less_often_and_used_again_when_it_is_back() -> None:
    store = Store()
    store.up = False
    for _ in range(FREE_FAILURES):
        await store.fails(TimeoutError)
    with pytest.raises(StoreError, match=r"it failed 3 times in a row and is asked again in 0\.05 s"):
        await store.backoff.ask(store.call)
    pause = FIRST_PAUSE_S
    for _ in range(8):
        asked = store.asked
        store.now += pause - 0.001
        await store.fails(StoreError)
        store.now += 0.002
        await store.fails(TimeoutError)
        assert store.asked == asked + 1
        pause = min(2 * pause, LONGEST_PAUSE_S)
    store.up = True
    store.now += LONGEST_PAUSE_S + 0.001
    assert await store.backoff.ask(store.call) == 7
    assert await store.backoff.ask(store.call) == 7


async def test_one_failure_does_not_keep_others_away() -> None:
    store = Store()
    store.up = False
    await store.fails(TimeoutError)
    store.up = True
    assert await store.backoff.ask(store.call) == 7
    assert store.asked == 2


async def test_callers_in_a_hurry_do_not_make_a_store_fail() -> None:
    store = Store()
    store.up, store.patience_s = False, SHORTEST_PATIENCE_S / 2
    for _ in range(10):
        await store.fails(TimeoutError)
    store.up = True
    assert await store.backoff.ask(store.call) == 7


async def test_a_cancelled_call_does_not_make_a_store_fail() -> None:
    backoff = Backoff()
    for _ in range(10):
        call = asyncio.create_task(backoff.ask(asyncio.Event().wait))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert await backoff.ask(lambda: asyncio.sleep(0, 7)) == 7
