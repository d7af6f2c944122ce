"""The consumer when disk or store are full or fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from contracts import records as r
from serving.interactions.meter import (
    STALE_USERS,
    ConsumerMeter,
)
from serving.stores.config import StoreConfig
from serving.stores.embedded import EmbeddedRedis
from serving.stores.keys import CONSUMERS
from serving.watching.metrics import Snapshot
from tests.fixtures.streams import accept, event
from tests.unit.serving.interactions.conftest import AT_ONCE, SHOP, Open
from tests.unit.serving.interactions.test_consumer import KEYS, letters, recorded, until

pytestmark = pytest.mark.redis


def test_a_disk_that_fails_is_tried_until_it_works(consumer: Open, client: redis.Redis, stores: StoreConfig) -> None:
    stores.records_dir.write_text("no folder")
    accept(client, SHOP, [event(1)], ["shoes"])
    patient = consumer()
    thread = threading.Thread(target=patient.run)
    thread.start()
    until(lambda: client.exists(KEYS.features("u1")))
    time.sleep(0.2)
    assert client.xpending(KEYS.interactions, CONSUMERS)["pending"] == 1
    stores.records_dir.unlink()
    until(lambda: client.xlen(KEYS.interactions) == 0)
    patient.stop()
    thread.join()
    assert len(recorded(stores)) == 1
    assert letters(client) == []


@pytest.fixture
def full(server: EmbeddedRedis) -> Iterator[Callable[[bool], object]]:
    """Fills the store, or gives it room again."""
    admin = server.admin_client()
    limit = admin.config_get("maxmemory")["maxmemory"]

    def fill(is_full: bool) -> None:
        admin.config_set("maxmemory", 1 if is_full else limit)

    yield fill
    fill(False)
    admin.close()


def test_a_full_store_is_recorded_and_emptied_and_its_features_follow(
    consumer: Open, client: redis.Redis, stores: StoreConfig, full: Callable[[bool], object]
) -> None:
    taken: list[Snapshot] = []
    counted = consumer(AT_ONCE, "one", ConsumerMeter(taken.append))
    accept(client, SHOP, [event(1)], ["shoes"])
    counted.step(0)
    accept(client, SHOP, [event(2), event(3)], ["books", "books"])
    before = client.hgetall(KEYS.features("u1"))
    full(True)
    assert counted.step(0) == 2
    assert {row["event_id"] for row in recorded(stores)} == {"e1", "e2", "e3"}
    assert client.xlen(KEYS.interactions) == 0
    assert client.hgetall(KEYS.features("u1")) == before
    time.sleep(1.1)  # until it tries again
    counted.step(0)
    assert taken[-1].current[STALE_USERS, ()] == 1
    full(False)
    time.sleep(1.1)
    counted.step(0)
    assert client.hgetall(KEYS.features("u1")) != before
    assert sorted(row["top_category"] for row in recorded(stores, r.USER_ACTIVITY)) == ["books", "shoes"]
    time.sleep(1.1)  # reports are a second apart
    counted.step(0)
    assert taken[-1].current[STALE_USERS, ()] == 0
    assert letters(client) == []


def test_a_consumer_that_dies_with_a_full_store_leaves_the_feature_to_the_users_next_event(
    consumer: Open, client: redis.Redis, stores: StoreConfig, full: Callable[[bool], object]
) -> None:
    consumer(AT_ONCE, "killed").step(0)  # its groups are there
    accept(client, SHOP, [event(1), event(2)], ["books", "books"])
    full(True)
    consumer(AT_ONCE, "killed").step(0)
    full(False)
    assert client.xlen(KEYS.interactions) == 0
    accept(client, SHOP, [event(3, timestamp=1_000_001)], ["shoes"])
    consumer(AT_ONCE, "heir").step(0)
    assert [row["top_category"] for row in recorded(stores, r.USER_ACTIVITY)] == ["books"]  # of all three events
    assert {row["event_id"] for row in recorded(stores)} == {"e1", "e2", "e3"}


def test_a_consumer_that_stops_while_its_disk_fails_leaves_the_work_to_the_next(
    consumer: Open, client: redis.Redis, stores: StoreConfig
) -> None:
    stores.records_dir.write_text("no folder")
    accept(client, SHOP, [event(1)], ["shoes"])
    first = consumer()
    thread = threading.Thread(target=first.run)
    thread.start()
    until(lambda: client.exists(KEYS.features("u1")))
    first.stop()
    thread.join()
    stores.records_dir.unlink()
    assert recorded(stores) == []
    heir = consumer(AT_ONCE.model_copy(update={"claim_after_s": 0.01}), "two")
    time.sleep(0.02)
    heir.step(0)
    assert len(recorded(stores)) == 1
