"""Somebody with more events than `top_category` looks at, late ones among them, is the same online and offline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from contracts.clock import HOUR_S
from contracts.features import TOP_CATEGORY_EVENTS
from contracts.interactions import Interaction
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.embedded import EmbeddedRedis
from serving.stores.interactions import InteractionStore, NewInteraction
from serving.stores.recent import RecentItemStore, decode, top_category_of
from serving.stores.table_values import recent_lists
from training.features.point_in_time import last_window_mode

NOW = 1_700_000_000
BATCH = 50


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path)) as server:
        yield server.address


@pytest.mark.redis
async def test_more_events_than_count(address: str) -> None:
    config = StoreConfig(shop="toys", read_timeout_ms=60_000)
    stores = StoreConnection.open(config, address)
    store, reader = InteractionStore(stores), RecentItemStore(stores)
    rng = np.random.default_rng(0)
    size = 3 * TOP_CATEGORY_EVENTS
    times = np.sort(rng.choice(30 * HOUR_S, size, replace=False)) + NOW - 30 * HOUR_S
    codes = rng.integers(0, 4, size).astype(np.int32)
    accepted = np.argsort(times + rng.integers(0, HOUR_S, size) * (rng.random(size) < 0.2))  # a fifth comes late
    posted: list[int] = []
    for start in range(0, size, BATCH):
        rows = accepted[start : start + BATCH].tolist()
        posted += rows
        await store.add([posted_event(row, int(times[row]), int(codes[row])) for row in rows])
        known = np.sort(posted)
        (day,) = await reader.read_day(["u:u"])
        assert day is not None
        last = last_window_mode(
            codes[known], times[known], np.array([0, len(known)]), np.array([len(known) - 1]), np.array([0])
        )
        assert top_category_of(day) == (f"c{last[0]}" if last[0] else None)
        assert len(day.timestamps) <= TOP_CATEGORY_EVENTS
    table = pa.table(
        {
            "subject_id": ["u:u"] * size,
            "item_id": [f"i{row}" for row in range(size)],
            "timestamp": times,
            "category_l1": [f"c{code}" if code else None for code in codes.tolist()],
        }
    )
    offline = {key: decode(value) for key, value in recent_lists(table, config)}
    assert offline == {"toys:v3:recent:u:u": (await reader.read(["u:u"]))[0], "toys:v3:day:u:u": day}
    await stores.client.aclose()


def posted_event(row: int, time: int, code: int) -> NewInteraction:
    happened = Interaction(
        event_id=str(row), item_id=f"i{row}", event="view", timestamp=time, accepted_at=NOW, user_id="u"
    )
    return NewInteraction(happened, f"c{code}" if code else None, None)
