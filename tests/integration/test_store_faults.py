"""A Redis that is full, a replica, or refuses the password, behind a whole gateway and its consumer.

Recommendations go on, events are refused with the reason, nothing that was accepted is lost, and everything recovers by
itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from contracts import records as r
from contracts.clock import DAY_S
from contracts.presets import SHOP
from ray_apps.ports import free_port
from serving.config import ServingConfig
from serving.interactions.build import open_consumer
from serving.interactions.config import ConsumerConfig
from serving.interactions.meter import ConsumerMeter
from serving.stores.config import EmbeddedRedisConfig
from serving.stores.connection import StoreConnection
from serving.stores.embedded import EmbeddedRedis
from serving.stores.keys import Keys
from serving.stores.user_features import UserFeatureStore
from tests.e2e.programs import FIRST_PORT
from tests.fixtures.filled_stores import fill_stores
from tests.fixtures.local_gateway import local_config, open_gateway
from tests.fixtures.served_bundle import NOW, write_served_bundle
from training.compaction import CompactConfig, compact
from training.records import read_records

pytestmark = [pytest.mark.redis, pytest.mark.slow]
PATIENCE_S = 120.0
EVENTS, RECOMMENDATIONS = "/v1/interactions", "/v1/recommendations"
USER = "u3"
CONSUMER = ConsumerConfig(flush_interval_s=0.05, gather_ms=0)


def events(first: int, last: int) -> list[dict[str, Any]]:
    """Clicks of one user a second apart, up to e19 on a book, then on shoes."""
    return [
        {
            "event_id": f"e{n}",
            "user_id": USER,
            "item_id": "i1" if n < 20 else "i2",
            "event": "click",
            "timestamp": NOW - 1_000 + n,
        }
        for n in range(first, last)
    ]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Has the bundle in it."""
    write_served_bundle(tmp_path)
    return tmp_path


@dataclass
class Shop:
    """A gateway and a consumer beside it.

    Attributes:
        http: speaks to the gateway.
        admin: speaks to its Redis.
        server: its Redis.
        config: settings.
        features: reads its features.
    """

    http: httpx.AsyncClient
    admin: redis.Redis
    server: EmbeddedRedis
    config: ServingConfig
    features: UserFeatureStore

    @property
    def keys(self) -> Keys:
        return Keys(self.config.stores.shop)

    async def post(self, first: int, last: int) -> tuple[int, Any]:
        response = await self.http.post(EVENTS, json=events(first, last))
        body = response.json()
        return response.status_code, body["accepted"] if response.status_code == 202 else body["error"]["code"]

    async def degraded(self) -> list[str]:
        """Parts left out of a recommendation, which is always answered."""
        response = await self.http.post(RECOMMENDATIONS, json={"user_id": "u1", "k": 5})
        assert response.status_code == 200, response.text
        assert len(response.json()["recommendations"]) == 5
        return list(response.json()["degraded"])

    async def stores(self) -> dict[str, str]:
        return dict((await self.http.get("/v1/status")).json()["stores"])

    async def top_category(self) -> str | None:
        return (await self.features.read([USER])).columns["top_category"][0]

    async def nothing_left(self) -> bool:
        """Whether everything is recorded and acknowledged."""
        return self.admin.xlen(self.keys.interactions) == self.admin.xlen(self.keys.served) == 0

    def recorded(self) -> Counter[str]:
        """How often each event is there for training, after compaction."""
        folder = self.config.stores.records_dir / self.config.stores.shop
        compact(folder, CompactConfig(), NOW + DAY_S)
        return Counter(read_records(folder, r.INTERACTIONS)["event_id"].to_pylist())


@asynccontextmanager
async def opened(folder: Path, server: EmbeddedRedis) -> AsyncIterator[Shop]:
    config = local_config(folder)
    async with AsyncExitStack() as stack:
        admin = stack.enter_context(server.admin_client())
        connection = StoreConnection.open(config.stores, server.address)
        stack.push_async_callback(connection.client.aclose)
        app = (await asyncio.to_thread(open_gateway, folder, config, connection)).app
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        http = await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60)
        )
        features = UserFeatureStore(connection, SHOP)
        yield Shop(http, admin, server, config, features)


@asynccontextmanager
async def consuming(shop: Shop) -> AsyncIterator[None]:
    """A consumer in a thread of its own."""
    stores, address = shop.config.stores, shop.server.address
    with open_consumer(CONSUMER, stores, address, "UTC", "one", ConsumerMeter()) as consumer:
        thread = threading.Thread(target=consumer.run)
        thread.start()
        try:
            yield
        finally:
            consumer.stop()
            await asyncio.to_thread(thread.join)


async def test_a_full_redis_is_emptied_by_its_consumer(folder: Path) -> None:
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=folder / "redis")) as server:
        await asyncio.to_thread(fill_stores, local_config(folder).stores, server.address)
        async with opened(folder, server) as shop:
            assert await shop.post(0, 20) == (202, 20)
            async with consuming(shop):
                await until(shop.nothing_left)
            assert await shop.top_category() == "books"
            assert await shop.post(20, 40) == (202, 20)
            shop.admin.config_set("maxmemory", 1)
            async with consuming(shop):
                assert await shop.post(40, 60) == (503, "store_full")
                assert await shop.degraded() == []
                stores = await shop.stores()
                assert stores["online"] == "ok"
                assert "is full and takes no writes" in stores["interactions"]
                await until(shop.nothing_left)
                assert await shop.top_category() == "books"  # not written, not forgotten
                shop.admin.config_set("maxmemory", 0)
                assert await shop.post(40, 60) == (202, 20)

                async def caught_up() -> bool:
                    return await shop.top_category() == "shoes" and await shop.nothing_left()

                await until(caught_up)
            assert shop.recorded() == {f"e{n}": 1 for n in range(60)}
            assert (await shop.stores())["interactions"] == "ok"
            assert shop.admin.xlen(shop.keys.dead_letters) == 0


async def test_a_replica_answers_recommendations_and_takes_events_once_promoted(folder: Path) -> None:
    with (
        EmbeddedRedis(EmbeddedRedisConfig(data_dir=folder / "primary")) as primary,
        EmbeddedRedis(EmbeddedRedisConfig(data_dir=folder / "replica")) as server,
    ):
        await asyncio.to_thread(fill_stores, local_config(folder).stores, primary.address)
        async with opened(folder, server) as shop, consuming(shop):
            port = free_port(FIRST_PORT)
            with primary.admin_client() as admin:  # a replica needs a port, and a user that may copy
                admin.config_set("port", port)
                admin.acl_setuser("default", enabled=True, nopass=True, categories=["+@all"])
            shop.admin.execute_command("REPLICAOF", "127.0.0.1", port)

            async def linked() -> bool:
                return shop.admin.info("replication")["master_link_status"] == "up"

            await until(linked)
            assert await shop.post(0, 20) == (503, "store_read_only")
            assert await shop.degraded() == []
            stores = await shop.stores()
            assert stores["online"] == "ok"
            assert "is a read-only replica" in stores["interactions"]
            shop.admin.execute_command("REPLICAOF", "NO", "ONE")
            assert await shop.post(0, 20) == (202, 20)
            await until(shop.nothing_left)
            assert await shop.top_category() == "books"
        assert shop.recorded() == {f"e{n}": 1 for n in range(20)}


async def test_a_refused_password_costs_what_the_store_knows_until_it_is_mended(folder: Path) -> None:
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=folder / "redis")) as server:
        await asyncio.to_thread(fill_stores, local_config(folder).stores, server.address)
        async with opened(folder, server) as shop, consuming(shop):
            assert await shop.post(0, 20) == (202, 20)
            shop.admin.acl_setuser("default", enabled=True, reset_passwords=True, passwords=["+secret"])
            shop.admin.client_kill_filter(_type="normal", skipme=True)
            assert await shop.post(20, 40) == (503, "store_access_denied")
            assert await shop.degraded() == ["user_features", "recent_items", "seen_filter"]
            stores = await shop.stores()
            assert "wants credentials" in stores["online"]
            assert "set username and password_file" in stores["interactions"]
            shop.admin.acl_setuser("default", enabled=True, nopass=True)
            assert await shop.post(20, 40) == (202, 20)

            async def whole() -> bool:
                return await shop.degraded() == [] and await shop.nothing_left()

            await until(whole)
            assert await shop.top_category() == "shoes"
            assert (await shop.stores()) == {"online": "ok", "interactions": "ok"}
        assert shop.recorded() == {f"e{n}": 1 for n in range(40)}
