"""Budgets: a patient request sets nobody else's time limit and holds up nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from contracts.bundle import Bundle
from contracts.errors import OverloadedError
from serving.gateway.queue.batcher import Batcher
from serving.gateway.queue.config import BatcherConfig
from serving.gateway.queue.lanes import BudgetLanes
from tests.fixtures.fake_stores import Fault
from tests.unit.serving.gateway.conftest import Shop

ONE_AT_ONCE = BatcherConfig(max_batch_size=2, max_running_batches=1, max_queued=6)
PATIENT = {"x-budget-ms": "60000"}


class Runner:
    """Batches that run until they are let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()

    async def __call__(self, requests: Sequence[int], waited_ms: Sequence[float]) -> list[int]:
        self.batches.append(list(requests))
        await self.go.wait()
        return list(requests)


def lanes_of(runner: Runner) -> BudgetLanes[int, int]:
    return BudgetLanes(lambda: Batcher(runner, ONE_AT_ONCE), ONE_AT_ONCE, usual_ms=100)


async def test_a_patient_request_has_a_batch_of_its_own_and_holds_up_nobody() -> None:
    runner = Runner()
    lanes = lanes_of(runner)
    tasks = [asyncio.create_task(lanes.submit(number, budget)) for number, budget in enumerate((60_000, 100, 100, 90))]
    await asyncio.sleep(0.05)
    assert runner.batches == [[0], [1, 2]], (
        "the third ordinary request waits for the first two, not for the patient one"
    )
    assert len(lanes.running) == 2
    runner.go.set()
    assert await asyncio.gather(*tasks) == [0, 1, 2, 3]


async def test_patient_requests_leave_room_for_the_others() -> None:
    runner = Runner()
    lanes = lanes_of(runner)
    tasks = [asyncio.create_task(lanes.submit(number, 60_000)) for number in range(4)]
    await asyncio.sleep(0.05)
    says = "4 requests wait or run already, 4 of them with a long budget"
    with pytest.raises(OverloadedError, match=says) as caught:
        await lanes.submit(5, 30_000)
    assert caught.value.details == {"retry_after_s": 1}
    tasks += [asyncio.create_task(lanes.submit(number, 100)) for number in range(4, 8)]
    await asyncio.sleep(0.05)
    with pytest.raises(OverloadedError, match="8 requests wait or run already"):
        await lanes.submit(8, 50)
    runner.go.set()
    assert await asyncio.gather(*tasks) == list(range(8))
    assert await lanes.submit(9, 60_000) == 9


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/recommendations", {"user_id": "u1"}), ("/v1/rankings", {"candidate_ids": ["i1", "i2"]})]
)
async def test_a_store_that_hangs_delays_only_the_patient_one(
    bundle: Bundle, raw_dir: Any, path: str, body: dict[str, Any]
) -> None:
    """With one batch for all, nobody would be answered before half a minute is over."""
    shop = Shop(bundle, raw_dir, service={"budget_ms": 500})
    shop.users.fault = Fault(hangs=True)
    transport = httpx.ASGITransport(app=shop.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop", timeout=60) as client:
        patient = asyncio.create_task(client.post(path, json={**body, "user_id": "u1"}, headers=PATIENT))
        await asyncio.sleep(0)
        ordinary = [client.post(path, json={**body, "user_id": "u2"}) for _ in range(3)]
        for response in await asyncio.gather(*ordinary):
            assert response.status_code == 200
            assert "user_features" in response.json()["degraded"]
        assert not patient.done()
        patient.cancel()
