"""Does short slices of work in one checkout when `benchmarks.slices` asks for them; a program of its own.

Each line on standard input is the name of a slice and a number that chooses its requests. Each answer is a line with
the seconds of CPU time and of wall time of one unit: a call of the pipeline or the gateway, or a training step.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

from benchmarks.direct import opened
from benchmarks.peers.http import WhenOpened, asgi_application
from benchmarks.shop import Shop, open_shop, with_reference_ranker
from benchmarks.training import BATCH, NUM_NEGATIVES, REFERENCE_TOWERS, SCORED_ROWS, dlrm_task, ours, two_tower_task
from benchmarks.training_data import QUICK, REFERENCE, random_shop
from contracts.config import merge
from serving.config import ServingConfig
from training.models.two_tower import TwoTowerConfig
from training.trainers.steps.loop import keep_freed_memory

NUM_REQUESTS: Final = 640
PATH: Final = "/v1/recommendations"  # written out: older checkouts lack the table of operations
_PATIENT: Final = {"service": {"budget_ms": 5_000}, "stores": {"read_timeout_ms": 5_000}}
_UNITS: Final = {1: 40, 32: 8}
"""Calls of a slice by size of the batch."""

Unit = Callable[[int], Awaitable[object]]
"""One call or step; the number chooses its requests."""


async def serve_slices(program: str, *, quick: bool, own: Mapping[str, Any]) -> None:
    """Announces its slices, then answers lines until the end of the input.

    Args:
        program: `serving` or `training`.
        quick: a small shop.
        own: arguments of the program that only this checkout may know.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what others print is not an answer
    async with AsyncExitStack() as stack:
        units = await {"serving": serving, "training": training}[program](stack, quick, own)
        gc.collect()
        gc.freeze()  # as replicas do
        print(*units, file=answers, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            name, first = line.split()
            count, unit = units[name]
            await unit(int(first))
            cpu, wall = time.process_time(), time.perf_counter()
            for number in range(count):
                await unit(int(first) + number)
            print((time.process_time() - cpu) / count, (time.perf_counter() - wall) / count, file=answers, flush=True)


async def serving(stack: AsyncExitStack, quick: bool, own: Mapping[str, Any]) -> Mapping[str, tuple[int, Unit]]:
    """Calls of the pipeline and of the gateway's application, on one core, with 1 and 32 requests."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    shop = stack.enter_context(open_shop(quick=quick, num_requests=NUM_REQUESTS, **own))
    values = shop.serving(with_reference_ranker(shop.bundle))
    direct = await stack.enter_async_context(opened(values, shop.asked, alone=True, remember=True))
    ask = await _gateway(shop)
    units: dict[str, tuple[int, Unit]] = {}
    for size, count in _UNITS.items():

        async def run(first: int, size: int = size) -> None:
            await direct.run(first * size, size)

        async def answer(first: int, size: int = size) -> None:
            await asyncio.gather(*(ask(first * size + number) for number in range(size)))

        units |= {f"pipeline_{size}": (count, run), f"gateway_{size}": (count, answer)}
        for unit in (run, answer):
            for first in range(NUM_REQUESTS // size):
                await unit(first)
    return units


async def _gateway(shop: Shop) -> Callable[[int], Awaitable[None]]:
    """Sends a request to the gateway's application in this process."""
    app = WhenOpened(asgi_application, ServingConfig.model_validate(merge(shop.values, _PATIENT)), items_in_feast=False)
    started = asyncio.Event()

    async def receive() -> dict[str, str]:
        if started.is_set():
            await asyncio.Event().wait()  # it never shuts down
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        started.set()

    lifespan = asyncio.create_task(app({"type": "lifespan"}, receive, send))
    await started.wait()
    bodies = [json.dumps(body).encode() for body in shop.asked]

    async def ask(number: int) -> None:
        assert not lifespan.done()
        body, statuses = bodies[number % len(bodies)], []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            statuses.append(message.get("status"))

        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        scope = {"type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(), "query_string": b""}
        scope |= {"headers": [(b"host", b"127.0.0.1"), *headers], "client": ("127.0.0.1", 1)}
        await app(scope, receive, send)
        assert statuses[0] == 200, f"the gateway answered with status {statuses[0]}"

    return ask


async def training(stack: AsyncExitStack, quick: bool, own: Mapping[str, Any]) -> Mapping[str, tuple[int, Unit]]:
    """Steps of both models with their input path, as `benchmarks.training` measures them."""
    keep_freed_memory()
    data = random_shop(QUICK if quick else REFERENCE, **own)
    scored, history = NUM_NEGATIVES + 1, TwoTowerConfig()
    steps = {
        "two_tower": ours(two_tower_task(data, REFERENCE_TOWERS), BATCH, 1),
        "two_tower_history": ours(two_tower_task(data, history), BATCH, 1),
        "dlrm": ours(dlrm_task(data), SCORED_ROWS // scored, scored),
    }
    units: dict[str, tuple[int, Unit]] = {}
    for name, step in steps.items():

        async def run(first: int, step: Callable[[], int] = step) -> None:
            step()

        for _ in range(10):
            step()
        units[name] = (10, run)
    return units


def _ten_columns(program: str) -> Mapping[str, Any]:
    from benchmarks.ten_columns import COLUMNS

    return {"columns": COLUMNS} if program == "training" else {"ten_columns": True}


if __name__ == "__main__":
    name, *flags = sys.argv[1:]
    own_arguments = _ten_columns(name) if "--ten-columns" in flags else {}
    asyncio.run(serve_slices(name, quick="--quick" in flags, own=own_arguments))
