"""Interactions beside other requests, and a store that takes none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.bundle import Bundle
from contracts.errors import StoreFullError
from serving.pipeline import PipelineResult
from serving.stores.interactions import NewInteraction
from tests.unit.serving.gateway.conftest import Shop
from tests.unit.serving.gateway.record.test_http_interactions import PATH, event, recent


async def test_requests_that_come_together_are_written_together(client: httpx.AsyncClient, shop: Shop) -> None:
    sizes: list[int] = []
    write = shop.interactions._store.add

    async def counting(new: list[NewInteraction]) -> Any:
        sizes.append(len(new))
        await asyncio.sleep(0)
        return await write(new)

    shop.interactions._store.add = counting  # type: ignore[method-assign]
    bodies = [[event(f"i{n}", user=f"u{n}"), event("nothing"), event("i1", user=f"u{n}")] for n in range(1, 6)]
    answers = await asyncio.gather(*(client.post(PATH, json=body) for body in bodies))
    assert {(answer.status_code, answer.json()["accepted"]) for answer in answers} == {(202, 2)}
    assert sum(sizes) == 10
    assert len(sizes) < 5
    for n in range(2, 6):
        assert (await recent(shop, f"u{n}")).item_ids == ("i1", f"i{n}")


@pytest.mark.parametrize(("yield_ms", "goes_first"), [(3_600_000.0, "recommendation"), (1.0, "event")])
async def test_recommendations_under_way_go_first_for_a_while(
    bundle: Bundle, raw_dir: Path, monkeypatch: pytest.MonkeyPatch, yield_ms: float, goes_first: str
) -> None:
    shop = Shop(bundle, raw_dir, online=True, interactions={"yield_ms": yield_ms})
    run, started, go = shop.service.run, asyncio.Event(), asyncio.Event()
    done: list[str] = []

    async def held(*arguments: Any) -> PipelineResult:
        started.set()
        await go.wait()
        return await run(*arguments)

    async def post(name: str, path: str, body: dict[str, Any]) -> None:
        answer = await client.post(path, json=body)
        assert answer.is_success
        done.append(name)

    monkeypatch.setattr(shop.service, "run", held)
    async with (
        httpx.AsyncClient(transport=httpx.ASGITransport(shop.app), base_url="http://shop") as client,
        asyncio.timeout(20),
        asyncio.TaskGroup() as group,
    ):
        group.create_task(post("recommendation", "/v1/recommendations", {"user_id": "u3"}))
        await started.wait()
        waiting = group.create_task(post("event", PATH, event()))
        await asyncio.wait([waiting], timeout=0.2 if goes_first == "recommendation" else None)
        go.set()
    assert done[0] == goes_first


async def test_a_store_that_takes_no_writes_is_told_and_shown(client: httpx.AsyncClient, shop: Shop) -> None:
    async def full(new: list[NewInteraction]) -> Any:
        raise StoreFullError("the store is full and takes no writes: OOM; raise its maxmemory")

    write, shop.interactions._store.add = shop.interactions._store.add, full  # type: ignore[method-assign]
    response = await client.post(PATH, json=event(event_id="e1"))
    assert (response.status_code, response.json()["error"]["code"]) == (503, "store_full")
    assert "raise its maxmemory" in response.json()["error"]["message"]
    assert "full" in (await client.get("/v1/status")).json()["stores"]["interactions"]
    await shop.monitor.probe()
    assert (await client.get("/v1/ready")).json() == {"ready": True, "interactions": "store_full"}
    shop.interactions._store.add = write  # type: ignore[method-assign]
    assert (await client.post(PATH, json=event(event_id="e1"))).json()["accepted"] == 1
    assert (await client.get("/v1/status")).json()["stores"]["interactions"] == "ok"
