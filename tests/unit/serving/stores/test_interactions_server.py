"""Interactions written to a real server: many writers, full, replica, dead."""

from __future__ import annotations

import asyncio

import pytest
import redis
import redis.asyncio

from contracts.errors import StoreAccessError, StoreError
from contracts.interactions import STREAM_FIELD, decode
from serving.stores.client import async_client
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.embedded import EmbeddedRedis
from serving.stores.interactions import InteractionStore
from serving.stores.recent import RecentItemStore
from tests.unit.serving.stores.test_interactions import event


@pytest.mark.redis
async def test_many_writers_of_few_subjects_count_every_event_once(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    clients = [async_client(config, server.address) for _ in range(4)]
    stores = [InteractionStore(StoreConnection(config, server.address, client)) for client in clients]
    batches = [
        [event(f"e{(number * 7 + at) % 60}", f"i{at}", subject=f"u{at % 3}") for at in range(5)] for number in range(40)
    ]
    outcomes: list[str] = []

    async def write(number: int) -> None:
        while True:
            try:
                outcomes.extend(await stores[number % 4].add(batches[number]))
                return
            except StoreError:  # others were faster ten times
                await asyncio.sleep(0.001 * number)

    await asyncio.gather(*(write(number) for number in range(40)))
    accepted = [decode(fields[STREAM_FIELD]) for _, fields in bulk.xrange("toys:v3:interactions")]
    ids = [(one.subject, one.event_id) for one in accepted]
    assert len(ids) == len(set(ids)) == outcomes.count("accepted")
    assert set(ids) == {(one.interaction.subject, one.interaction.event_id) for batch in batches for one in batch}
    recents = await RecentItemStore(StoreConnection(config, server.address, clients[0])).read(["u:u0", "u:u1", "u:u2"])
    kept = sum(min(config.history_length, sum(one.subject == f"u:u{user}" for one in accepted)) for user in range(3))
    assert sum(len(one.item_ids) for one in recents) == kept
    for client in clients:
        await client.aclose()


@pytest.mark.redis
async def test_a_full_store_refuses_with_the_fix_and_nothing_is_half_written(
    bulk: redis.Redis, server: EmbeddedRedis, config: StoreConfig
) -> None:
    stores = StoreConnection.open(config, server.address)
    store = InteractionStore(stores)
    await store.add([event("e1")])
    before = {key: bulk.dump(key) for key in bulk.scan_iter()}
    admin = server.admin_client()
    limit = admin.config_get("maxmemory")["maxmemory"]
    admin.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreError, match=r"is full and takes no writes: .*raise its maxmemory"):
            await store.add([event("e2"), event("e3", subject="v")])
    finally:
        admin.config_set("maxmemory", limit)
        admin.close()
    assert {key: bulk.dump(key) for key in bulk.scan_iter()} == before
    assert await store.add([event("e2")]) == ["accepted"]
    await stores.client.aclose()


@pytest.mark.redis
async def test_a_replica_a_wrong_password_and_a_dead_store_are_told_apart(
    tmp_path_factory: pytest.TempPathFactory, config: StoreConfig
) -> None:
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path_factory.mktemp("own"))) as own:
        stores = StoreConnection.open(config, own.address)
        store = InteractionStore(stores)
        with own.admin_client() as admin:
            admin.execute_command("REPLICAOF", "127.0.0.1", 1)
            with pytest.raises(StoreError, match=r"is a read-only replica: .*set the address of the primary"):
                await store.add([event("another")])
            admin.execute_command("REPLICAOF", "NO", "ONE")
            admin.acl_setuser("default", enabled=True, reset_passwords=True, passwords=["+secret"])
            await stores.client.connection_pool.disconnect()
            with pytest.raises(StoreAccessError, match="wants credentials"):
                await store.add([event("another")])
    with pytest.raises(StoreError, match=r"no connection to the store|did not answer"):
        await store.add([event("another")])
    await stores.client.aclose()
