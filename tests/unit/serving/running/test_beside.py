"""Calls that run beside others."""

from __future__ import annotations

import asyncio

import pytest

from contracts.errors import StoreError
from serving.running.beside import Background, together


async def test_background_work_is_cancelled_when_nobody_waits_for_it() -> None:
    cancelled = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with Background(forever()):
        await asyncio.sleep(0)
    await asyncio.wait_for(cancelled.wait(), timeout=10)


async def test_background_errors_nobody_asked_for_are_no_warnings() -> None:
    async def breaks() -> None:
        raise StoreError("down")

    with Background(breaks()) as task:
        await asyncio.sleep(0)
    assert task.done()


async def test_two_calls_run_together() -> None:
    second_started = asyncio.Event()

    async def first() -> int:
        await asyncio.wait_for(second_started.wait(), timeout=10)
        return 1

    async def second() -> str:
        second_started.set()
        return "two"

    assert await together(first(), second()) == (1, "two")


@pytest.mark.parametrize("breaks", ["first", "second"])
async def test_an_error_of_either_call_is_the_error_of_both(breaks: str) -> None:
    async def call(name: str) -> None:
        await asyncio.sleep(0)
        if name == breaks:
            raise StoreError(f"{name} is down")

    with pytest.raises(StoreError, match=f"{breaks} is down"):
        await together(call("first"), call("second"))


async def test_the_second_call_ends_with_the_first_one_that_fails() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        await started.wait()
        raise StoreError("down")

    async def second() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(StoreError, match="down"):
        await together(first(), second())
    await asyncio.wait_for(cancelled.wait(), timeout=10)
