"""Batches: alone at once, together under load, bounded, and nobody waits for an answer that never comes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from contracts.config import validate
from contracts.errors import ConfigError, OverloadedError
from serving.gateway.queue.batcher import Batcher
from serving.gateway.queue.config import BatcherConfig
from serving.gateway.recommend.config import ServiceConfig


class Runner:
    """Answers each number with its double; holds its batches until they are let go."""

    def __init__(self, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()
        if not held:
            self.go.set()

    async def __call__(self, requests: Sequence[int], waited_ms: Sequence[float]) -> list[int]:
        assert len(waited_ms) == len(requests)
        assert min(waited_ms) >= 0
        self.batches.append(list(requests))
        await self.go.wait()
        return [2 * request for request in requests]


def batcher(runner: Runner, **config: float) -> Batcher[int, int]:
    return Batcher(runner, BatcherConfig(**config))  # type: ignore[arg-type]


async def until(count: int, runner: Runner) -> None:
    async with asyncio.timeout(20):
        while len(runner.batches) < count:
            await asyncio.sleep(0.001)


async def test_a_request_alone_starts_at_once_whatever_the_wait() -> None:
    runner = Runner()
    async with asyncio.timeout(20):
        assert await batcher(runner, max_wait_ms=3_600_000).submit(21) == 42


async def test_what_goes_first_is_waited_for_and_is_no_time_of_the_batch() -> None:
    runner, waits = Runner(), []

    async def yield_first(waited_ms: float) -> None:
        waits.append(waited_ms)
        await asyncio.sleep(0.2)

    slow = Batcher(runner, BatcherConfig(max_batch_size=1, max_queue_ms=150), yield_first=yield_first)
    assert await slow.submit(1) == 2
    assert len(waits) == 1
    assert waits[0] >= 0
    assert await asyncio.gather(slow.submit(2), slow.submit(3)) == [4, 6], "batches count as short"


async def test_requests_of_one_moment_go_together() -> None:
    runner = Runner()
    submit = batcher(runner).submit
    assert await asyncio.gather(*(submit(number) for number in range(5))) == [0, 2, 4, 6, 8]
    assert runner.batches == [[0, 1, 2, 3, 4]]


async def test_batches_are_no_larger_than_allowed() -> None:
    runner = Runner()
    submit = batcher(runner, max_batch_size=2).submit
    assert await asyncio.gather(*(submit(number) for number in range(5))) == [0, 2, 4, 6, 8]
    assert runner.batches == [[0, 1], [2, 3], [4]]


async def test_while_one_batch_runs_the_next_one_forms() -> None:
    runner = Runner(held=True)
    submit = batcher(runner, max_running_batches=1).submit
    first = asyncio.create_task(submit(0))
    await until(1, runner)
    others = [asyncio.create_task(submit(number)) for number in (1, 2, 3)]
    await asyncio.sleep(0.01)
    assert runner.batches == [[0]]
    runner.go.set()
    assert await asyncio.gather(first, *others) == [0, 2, 4, 6]
    assert runner.batches == [[0], [1, 2, 3]]


async def test_a_full_batch_does_not_wait_for_the_running_one() -> None:
    runner = Runner(held=True)
    submit = batcher(runner, max_running_batches=2, max_batch_size=2, max_wait_ms=3_600_000).submit
    tasks = [asyncio.create_task(submit(number)) for number in range(4)]
    await until(2, runner)
    assert runner.batches == [[0, 1], [2, 3]]
    runner.go.set()
    await asyncio.gather(*tasks)


async def test_after_its_wait_a_batch_starts_beside_the_running_one() -> None:
    runner = Runner(held=True)
    submit = batcher(runner, max_running_batches=2, max_wait_ms=1).submit
    tasks = [asyncio.create_task(submit(0))]
    await until(1, runner)
    tasks.append(asyncio.create_task(submit(1)))
    await until(2, runner)
    runner.go.set()
    assert await asyncio.gather(*tasks) == [0, 2]


async def test_too_many_waiting_requests_are_refused() -> None:
    runner = Runner(held=True)
    gathering = batcher(runner, max_running_batches=1, max_batch_size=1, max_queued=2, retry_after_s=7)
    tasks = [asyncio.create_task(gathering.submit(0))]
    await until(1, runner)
    tasks += [asyncio.create_task(gathering.submit(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="2 requests wait already; try again after 7 s") as caught:
        await gathering.submit(3)
    assert caught.value.details == {"retry_after_s": 7}
    runner.go.set()
    assert await asyncio.gather(*tasks) == [0, 2, 4]
    assert await gathering.submit(3) == 6


async def test_a_failing_batch_fails_its_requests_and_no_other() -> None:
    async def run(requests: Sequence[int], waited_ms: Sequence[float]) -> list[int]:
        if 13 in requests:
            raise ValueError("unlucky")
        return list(requests)

    gathering: Batcher[int, int] = Batcher(run, BatcherConfig(max_batch_size=2))
    answers = await asyncio.gather(*(gathering.submit(n) for n in (1, 2, 13, 3, 4)), return_exceptions=True)
    assert [answers[at] for at in (0, 1, 4)] == [1, 2, 4]
    assert [str(answers[at]) for at in (2, 3)] == ["unlucky", "unlucky"]


async def test_requests_whose_client_left_are_not_run() -> None:
    runner = Runner(held=True)
    submit = batcher(runner, max_running_batches=1).submit
    first = asyncio.create_task(submit(0))
    await until(1, runner)
    gone, stays = asyncio.create_task(submit(1)), asyncio.create_task(submit(2))
    await asyncio.sleep(0)
    gone.cancel()
    runner.go.set()
    assert await asyncio.gather(first, stays) == [0, 4]
    assert runner.batches == [[0], [2]]


def test_a_queue_that_no_batch_fits_in_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_queued=4 is below max_batch_size=32; no batch could fill"):
        validate(BatcherConfig, {"max_queued": 4}, source="x")


async def test_a_request_that_would_wait_too_long_is_refused() -> None:
    runner = Runner(held=True)
    gathering = batcher(runner, max_running_batches=1, max_batch_size=2, max_queued=100, max_queue_ms=0.001)
    tasks = [asyncio.create_task(gathering.submit(number)) for number in range(4)]
    await until(1, runner)
    await asyncio.sleep(0.01)
    runner.go.set()
    await asyncio.gather(*tasks)  # now it knows how long a full batch takes
    runner.go.clear()
    tasks = [asyncio.create_task(gathering.submit(number)) for number in range(2)]
    await until(3, runner)
    tasks += [asyncio.create_task(gathering.submit(number)) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="2 requests wait already"):
        await gathering.submit(4)
    runner.go.set()
    await asyncio.gather(*tasks)
    assert await gathering.submit(5) == 10, "an empty queue takes everybody"


async def test_fewer_batches_are_under_way_while_they_take_too_long() -> None:
    runner = Runner(held=True)
    gathering = batcher(runner, max_running_batches=2, max_batch_size=1, max_batch_ms=0.001)
    slow = [asyncio.create_task(gathering.submit(number)) for number in range(2)]
    await until(2, runner)  # nothing is known yet, so both run
    await asyncio.sleep(0.01)
    runner.go.set()
    await asyncio.gather(*slow)
    runner.go.clear()
    first = asyncio.create_task(gathering.submit(2))
    await until(3, runner)
    second = asyncio.create_task(gathering.submit(3))
    await asyncio.sleep(0.01)
    assert runner.batches[2:] == [[2]]
    runner.go.set()
    assert await asyncio.gather(first, second) == [4, 6]


async def test_waiting_is_told_to_the_autoscaler() -> None:
    gathering = batcher(Runner())
    await asyncio.gather(*(gathering.submit(number) for number in range(4)))
    load = gathering.load.take()
    assert load["queue_ms"] > 0
    assert load["rate"] > 0


def test_waiting_longer_than_the_budget_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"batch\.max_queue_ms=50 leaves nothing of budget_ms=30"):
        validate(ServiceConfig, {"budget_ms": 30, "batch": {"max_queue_ms": 50}}, source="x")


def test_waiting_and_batches_get_their_share_of_the_budget() -> None:
    batching = ServiceConfig(budget_ms=30).batching
    assert (batching.max_queue_ms, batching.max_batch_ms) == (7.5, 15)
    given = ServiceConfig(budget_ms=30, batch=BatcherConfig(max_queue_ms=20, max_batch_ms=25)).batching
    assert (given.max_queue_ms, given.max_batch_ms) == (20, 25)
