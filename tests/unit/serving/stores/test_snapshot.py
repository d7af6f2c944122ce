"""What is online of all users, read at once."""

from __future__ import annotations

import pytest
import redis

from contracts.records import SNAPSHOTS
from serving.stores.config import StoreConfig
from serving.stores.embedded import EmbeddedRedis
from serving.stores.keys import Keys
from serving.stores.snapshot import online_activity
from tests.fixtures.filled_stores import fill_stores

pytestmark = pytest.mark.redis


def test_every_user_is_in_it_and_no_other_shop(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.stores.snapshot._CHUNK", 2)
    fill_stores(config, server.address)
    bulk.hset(Keys("other_toys").features("u7"), mapping={"any": "thing"})
    before, _ = bulk.time()
    rows = online_activity(config, server.address)
    assert rows.column_names == list(SNAPSHOTS.names)
    (served_ms,) = set(rows["served_ms"].to_pylist())
    assert before * 1_000 <= served_ms <= (bulk.time()[0] + 1) * 1_000
    assert [tuple(row.values())[:-1] for row in rows.to_pylist()] == [
        ("u1", "books", "shoes"),
        ("u2", "toys", None),
        ("u3", None, None),
    ]


def test_an_empty_store_has_no_users(server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig) -> None:
    fill_stores(config, server.address)
    bulk.flushall()
    assert len(online_activity(config, server.address)) == 0
