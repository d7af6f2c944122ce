"""The live feature: one definition, Feast's bytes, and no older value over a newer one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from contracts.clock import DAY_S
from contracts.errors import DataError
from contracts.features import USER_ACTIVITY, top_category
from contracts.user_records import RecentItems
from serving.stores import feast_repo
from serving.stores.config import StoreConfig
from serving.stores.embedded import EmbeddedRedis
from serving.stores.keys import Keys
from serving.stores.recent import top_category_of
from serving.stores.top_category import ServedValue, TopCategoryStore, decode_served
from tests.fixtures.filled_stores import fill_stores
from tests.fixtures.read_stores import user_features
from tests.fixtures.served_bundle import NOW
from tests.fixtures.streams import accept, event

SHOP = "toys"
KEYS = Keys(SHOP)


@given(st.lists(st.tuples(st.sampled_from(["", "shoes", "books", "toys"]), st.integers(0, 2 * DAY_S)), min_size=1))
def test_the_definition_is_that_of_training(events: list[tuple[str, int]]) -> None:
    events = sorted(events, key=lambda pair: pair[1])
    codes = {"": 0, "books": 1, "shoes": 2, "toys": 3}
    expected = top_category(
        np.array([codes[name] for name, _ in events], dtype=np.int32), np.array([time for _, time in events])
    )
    newest_first = events[::-1]
    found = top_category_of(
        RecentItems(tuple(name for name, _ in newest_first), tuple(time for _, time in newest_first))
    )
    assert codes[found or ""] == expected


@pytest.fixture
def features(server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig) -> TopCategoryStore:
    fill_stores(config, server.address)
    return TopCategoryStore(config, server.address)


def served(bulk: redis.Redis) -> list[ServedValue]:
    return [decode_served(fields[b"served"]) for _, fields in bulk.xrange(KEYS.served)]


@pytest.mark.redis
async def test_users_get_their_value_and_keep_the_rest(
    features: TopCategoryStore, server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    events = [event(number, user, timestamp=NOW + number) for number, user in enumerate(["u1", "u1", "u1", "new"])]
    accept(bulk, SHOP, events, ["toys", "toys", "shoes", ""])
    assert features.refresh(["u1", "new", "u1", "nobody"]) == {}
    found = await user_features(config, server.address, ["u1", "new", "nobody", "u2"])
    assert found.columns["top_category"] == ("toys", None, None, "toys")
    assert found.columns["top_category_long"] == ("shoes", None, None, None)
    assert found.columns["age"][0] == 30
    assert found.known.tolist() == [True, True, False, True]
    assert served(bulk) == [
        ServedValue(user_id="u1", top_category="toys", event_timestamp=NOW + 2),
        ServedValue(user_id="new", top_category=None, event_timestamp=NOW + 3),
    ]


@pytest.mark.redis
def test_the_bytes_are_those_that_feast_writes(
    features: TopCategoryStore, server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    accept(bulk, SHOP, [event(1, "ü", timestamp=NOW)], ["tøys"])
    features.refresh(["ü"])
    ours = bulk.hgetall(KEYS.features("ü"))
    row = {"user_id": ["ü2"], "top_category": ["tøys"], "top_category_long": ["x"]}
    frame = pd.DataFrame({**row, "event_timestamp": [datetime.fromtimestamp(NOW, tz=UTC)]})
    feast_repo.open_store(config, server.address).write_to_online_store(USER_ACTIVITY.name, frame)
    theirs = bulk.hgetall(KEYS.features("ü2"))
    assert ours
    assert ours.items() <= theirs.items()
    assert len(theirs) == len(ours) + 1  # top_category_long


def between(features: TopCategoryStore, monkeypatch: pytest.MonkeyPatch, change: Callable[[], Any]) -> None:
    """Does something once, after the lists are read and before the values are written."""
    read, changes = features._client.mget, [change]

    def mget(keys: list[str]) -> list[bytes | None]:
        found: list[bytes | None] = read(keys)
        if changes:
            changes.pop()()
        return found

    monkeypatch.setattr(features._client, "mget", mget)


@pytest.mark.redis
def test_a_list_that_changes_meanwhile_is_read_again(
    features: TopCategoryStore, bulk: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(bulk, SHOP, [event(1, timestamp=NOW), event(2, "u2", timestamp=NOW)], ["toys", "toys"])
    newer = event(3, timestamp=NOW + DAY_S)
    between(features, monkeypatch, lambda: accept(bulk, SHOP, [newer], ["shoes"]))
    features.refresh(["u1", "u2"])
    assert [(value.user_id, value.top_category) for value in served(bulk)] == [("u2", "toys"), ("u1", "shoes")]


@pytest.mark.redis
def test_a_user_who_is_erased_meanwhile_does_not_come_back(
    features: TopCategoryStore, bulk: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = KEYS.features("u1")
    accept(bulk, SHOP, [event(1, timestamp=NOW)], ["toys"])
    between(features, monkeypatch, lambda: bulk.delete(KEYS.day("u:u1"), key))
    features.refresh(["u1"])
    assert not bulk.exists(key)
    assert served(bulk) == []


@pytest.mark.redis
def test_a_list_that_cannot_be_read_stops_nobody_else(features: TopCategoryStore, bulk: redis.Redis) -> None:
    accept(bulk, SHOP, [event(1, timestamp=NOW), event(2, "u2", timestamp=NOW)], ["toys", "toys"])
    bulk.set(KEYS.day("u:u1"), b"\xc1")
    failed = features.refresh(["u1", "u2"])
    assert list(failed) == ["u1"]
    assert "cannot be read" in failed["u1"]
    assert [value.user_id for value in served(bulk)] == ["u2"]


def test_other_entries_are_no_served_values() -> None:
    with pytest.raises(DataError, match="a stream entry is no served value: JSON is malformed"):
        decode_served(b"shoes")
