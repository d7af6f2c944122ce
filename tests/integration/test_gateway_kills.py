"""kill −9 of a gateway under a load of events: whatever it said yes to is there once, and counted once."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import redis

from contracts import records as r
from contracts.clock import DAY_S
from contracts.ids import user_subject
from contracts.presets import SHOP
from contracts.user_records import RecentItems
from serving.interactions.build import open_consumer
from serving.interactions.config import ConsumerConfig
from serving.interactions.meter import ConsumerMeter
from serving.stores.config import EmbeddedRedisConfig
from serving.stores.connection import StoreConnection
from serving.stores.embedded import EmbeddedRedis
from serving.stores.keys import Keys
from serving.stores.recent import RecentItemStore, top_category_of
from serving.stores.user_features import UserFeatureStore
from tests.fixtures.filled_stores import fill_stores
from tests.fixtures.local_gateway import local_config, start_gateway
from tests.fixtures.served_bundle import NOW, write_served_bundle
from tests.fixtures.tiny_bundle import CATEGORIES
from training.compaction import CompactConfig, compact
from training.records import read_records

pytestmark = [pytest.mark.redis, pytest.mark.slow]
NUM_CALLS, CALL, NUM_USERS, NUM_CLIENTS, NUM_KILLS = 240, 5, 60, 4, 2
PATIENCE_S = 120.0
CONSUMER = ConsumerConfig(flush_interval_s=0.2)


def calls() -> list[list[dict[str, Any]]]:
    """Events a second apart, of a few users, in calls."""
    rng = np.random.default_rng(11)
    made = [
        {
            "event_id": f"e{number}",
            "user_id": f"k{rng.integers(NUM_USERS)}",
            "item_id": f"i{rng.integers(1, 20)}",
            "event": "click",
            "timestamp": NOW - 10_000 + number,
        }
        for number in range(NUM_CALLS * CALL)
    ]
    return [made[start : start + CALL] for start in range(0, len(made), CALL)]


async def post(url: str, some: list[list[dict[str, Any]]], done: list[Counter[str]]) -> None:
    """Posts calls one after the other; one without an answer is sent again, as a client would."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        for call in some:
            while True:
                try:
                    response = await client.post("/v1/interactions", json=call)
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
            assert response.status_code == 202, response.text
            answer = response.json()
            done.append(Counter(accepted=answer["accepted"], duplicates=answer["duplicates"]))
            assert answer["refused"] == []


async def test_kills_of_a_gateway_lose_nothing_and_count_nothing_twice(tmp_path: Path) -> None:
    write_served_bundle(tmp_path)
    config = local_config(tmp_path).stores
    keys, work = Keys(config.shop), calls()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path / "redis")) as server:
        await asyncio.to_thread(fill_stores, config, server.address)
        admin = redis.Redis.from_url(server.address)
        before = seen_today(admin, keys)
        gateway = await asyncio.to_thread(start_gateway, tmp_path, server.address, port)
        with open_consumer(CONSUMER, config, server.address, "UTC", "one", ConsumerMeter()) as consumer:
            thread = threading.Thread(target=consumer.run)
            thread.start()
            done: list[Counter[str]] = []
            clients = [
                asyncio.create_task(post(f"http://127.0.0.1:{port}", work[n::NUM_CLIENTS], done))
                for n in range(NUM_CLIENTS)
            ]
            async with asyncio.timeout(PATIENCE_S):
                for kill in range(1, NUM_KILLS + 1):
                    while len(done) < kill * NUM_CALLS // (NUM_KILLS + 1):
                        await asyncio.sleep(0.001)
                    gateway.kill()
                    gateway.wait()
                    assert len(done) < NUM_CALLS  # in the middle of the load
                    gateway = await asyncio.to_thread(start_gateway, tmp_path, server.address, port)
                await asyncio.gather(*clients)
                gateway.kill()
                gateway.wait()
                while admin.xlen(keys.interactions):
                    await asyncio.sleep(0.05)
            consumer.stop()
            await asyncio.to_thread(thread.join)
        with admin:
            assert admin.xlen(keys.dead_letters) == 0
            popular = seen_today(admin, keys) - before
        users = sorted({event["user_id"] for call in work for event in call})
        stores = StoreConnection.open(config, server.address)
        online = (await UserFeatureStore(stores, SHOP).read(users)).columns["top_category"]
        recents = await RecentItemStore(stores).read([user_subject(user) for user in users])
        await stores.client.aclose()
    assert sum(done, Counter()).total() == NUM_CALLS * CALL
    compact(config.records_dir / config.shop, CompactConfig(), NOW + DAY_S)
    recorded = read_records(config.records_dir / config.shop, r.INTERACTIONS)["event_id"].to_pylist()
    check_each_counts_once([event for call in work for event in call], recorded, popular)
    check_state([event for call in work for event in call], dict(zip(users, recents, strict=True)), online)


def seen_today(admin: redis.Redis, keys: Keys) -> Counter[str]:
    return Counter({item.decode(): int(count) for item, count in admin.hgetall(keys.popular(NOW // DAY_S)).items()})


def check_each_counts_once(events: list[dict[str, Any]], recorded: list[str], popular: Counter[str]) -> None:
    assert Counter(recorded) == {event["event_id"]: 1 for event in events}
    assert popular == Counter(event["item_id"] for event in events)


def check_state(events: list[dict[str, Any]], recents: dict[str, RecentItems], online: tuple[str | None, ...]) -> None:
    for (user, recent), category in zip(recents.items(), online, strict=True):
        own = [event for event in reversed(events) if event["user_id"] == user]
        items, times = tuple(event["item_id"] for event in own), tuple(event["timestamp"] for event in own)
        assert recent == RecentItems(items, times)
        assert category == top_category_of(RecentItems(tuple(map(category_of, items)), times))


def category_of(item_id: str) -> str:
    """As the tiny shop has it."""
    return CATEGORIES[(int(item_id[1:]) - 1) % len(CATEGORIES)]
