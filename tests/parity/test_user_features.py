"""User features as serving reads them are those that Feast reads, whoever wrote them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import redis

from contracts.features import USER_ACTIVITY
from contracts.presets import SHOP
from serving.stores import feast_repo
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.embedded import EmbeddedRedis
from serving.stores.feast_rows import string_fields
from serving.stores.keys import Keys
from tests.fixtures.filled_stores import fill_stores
from tests.fixtures.read_stores import user_features

USERS = ["u1", "u2", "u3", "u4", "ü", "", "u1"]


@pytest.mark.redis
async def test_serving_reads_what_feast_reads(tmp_path: Path) -> None:
    config = StoreConfig(shop="toys", feast_dir=tmp_path / "feast", read_timeout_ms=20_000)
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path / "redis")) as server:
        await asyncio.to_thread(fill_stores, config, server.address)
        with redis.Redis.from_url(server.address) as client:
            for user, category in (("u3", "tøys"), ("ü", ""), ("", None), ("u1", "x" * 300)):
                pairs = string_fields(USER_ACTIVITY, {"top_category": category}, 1_700_000_000)
                client.hset(Keys("toys").features(user), items=pairs)
        ours = await user_features(config, server.address, USERS)
        store = feast_repo.open_store(config, server.address)
        answer = await asyncio.to_thread(
            store.get_online_features, feast_repo.feature_references(SHOP), {"user_id": USERS}, full_feature_names=False
        )
    theirs = answer.to_dict()
    np.testing.assert_array_equal(ours.columns["age"], np.array(theirs["age"], dtype=np.float64))
    for name in ("gender", "top_category", "top_category_long"):
        assert list(ours.columns[name]) == theirs[name]
    times = [[time.seconds > 0 for time in column.event_timestamps] for column in answer.proto.results]
    assert ours.known.tolist() == np.any(times, axis=0).tolist() == [True, True, True, False, True, True, True]
