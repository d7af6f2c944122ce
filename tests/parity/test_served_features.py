"""Training-serving skew: for every event, the features that were online when it was accepted are those in its row."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from contracts import columns as c
from contracts.bloom import item_hashes
from contracts.clock import DAY_S, ShopCalendar
from contracts.interactions import Interaction
from contracts.presets import SHOP
from serving.interactions.build import open_consumer
from serving.interactions.config import ConsumerConfig
from serving.interactions.consumer import FeatureConsumer
from serving.interactions.meter import ConsumerMeter
from serving.interactions.records import RecordWriter
from serving.stores.client import async_client
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.embedded import EmbeddedRedis
from serving.stores.interactions import InteractionStore, NewInteraction
from serving.stores.materialize import StoreTables, materialize
from serving.stores.merge import TablesEnd
from serving.stores.snapshot import online_activity
from serving.stores.user_features import UserFeatureStore
from tests.fixtures.filled_stores import fill_stores
from tests.fixtures.plain_preprocess import run_without_ray
from tests.fixtures.raw_tables import FIRST_DAY, START, write_shop
from training.compaction import CompactConfig, compact
from training.features import preprocess as job
from training.features.config import PreprocessConfig
from training.features.online import final_activity, final_profiles, recent_interactions, seen_interactions
from training.features.processed import Processed, open_processed

pytestmark = pytest.mark.redis
SHOP_NAME = "tiny"
CATEGORIES = {"i1": "lamps", "i2": "lamps", "i3": "tables", "i4": None}
USERS = ("u1", "u2", "u3", "new1", "new2")
EVENTS_A_DAY = 60
END_DAY = FIRST_DAY + 8
Both = tuple[str | None, str | None]
"""`top_category` and `top_category_long`."""


@dataclass
class Shop:
    """A shop of tables, records and stores.

    Attributes:
        folder: of everything.
        config: the stores' settings.
        address: of the stores.
        interactions: takes events.
        users: reads features.
        consumer: of the events.
        online: what was online as each event was accepted, by event id.
    """

    folder: Path
    config: StoreConfig
    address: str
    interactions: InteractionStore
    users: UserFeatureStore
    consumer: FeatureConsumer
    online: dict[str, Both] = field(default_factory=dict)

    @property
    def records(self) -> Path:
        return self.config.records_dir / SHOP_NAME

    async def play(self, day: int, users: Sequence[str]) -> list[str]:
        """A day of events while the consumer lags now and then; their ids."""
        rng = np.random.default_rng(day)
        names = []
        for number in range(EVENTS_A_DAY):
            user, item, name = str(rng.choice(users)), str(rng.choice(list(CATEGORIES))), f"o{day}-{number}"
            at = START + day * DAY_S + number * DAY_S // EVENTS_A_DAY
            found = await self.users.read([user])
            self.online[name] = found.columns["top_category"][0], found.columns["top_category_long"][0]
            event = Interaction(event_id=name, user_id=user, item_id=item, event="view", timestamp=at, accepted_at=at)
            new = NewInteraction(event, CATEGORIES[item], (item_hashes([item])[0], at // DAY_S))
            assert await self.interactions.add([new]) == ["accepted"]
            names.append(name)
            if rng.random() < 0.4:
                await asyncio.to_thread(self.consumer.step, 0)
                time.sleep(0.002)  # the store's clock tells milliseconds
        return names

    async def flush(self) -> None:
        """Lets the consumer do and write all that there is."""
        while await asyncio.to_thread(self.consumer.step, 0):
            pass
        await asyncio.to_thread(self.consumer._flush)
        compact(self.records, CompactConfig(), START + 30 * DAY_S)

    def preprocess(self, name: str) -> Processed:
        """Tables and records as training reads them."""
        raw, out = self.folder / "raw", self.folder / name
        job.preprocess(PreprocessConfig(), raw, out, shop=SHOP_NAME, records_dir=self.records, records_end=END_DAY)
        return open_processed(self.folder / name)

    def materialize(self, processed: Processed) -> None:
        """As the job does it."""
        end = TablesEnd(processed.info.last_day, START + (processed.info.last_day + 1 - FIRST_DAY) * DAY_S)
        tables = StoreTables(
            final_profiles(processed),
            final_activity(processed),
            recent_interactions(processed),
            seen_interactions(processed),
            end,
        )
        materialize(self.config, self.address, tables, bundle_version="b1", written_at=START)
        RecordWriter(self.records, ShopCalendar("UTC")).snapshot(online_activity(self.config, self.address))
        time.sleep(0.002)


def trained(processed: Processed) -> dict[str, Both]:
    """What is in the rows, by event id."""
    names = [None, *processed.transforms.vocabularies[c.CATEGORY_L1].tokens]
    events = processed.events()
    codes = (events.context_codes(name).tolist() for name in (c.TOP_CATEGORY, c.TOP_CATEGORY_LONG))
    pairs = zip(*codes, strict=True)
    return {name: (names[top], names[long]) for name, (top, long) in zip(processed.event_ids(), pairs, strict=True)}


async def test_what_was_served_is_what_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three days: before any snapshot, after one of the shop's tables, after one of tables and records."""
    monkeypatch.setattr(job, "_run", run_without_ray)
    write_shop(tmp_path / "raw")
    stores = StoreConfig(
        shop=SHOP_NAME, feast_dir=tmp_path / "feast", records_dir=tmp_path / "records", read_timeout_ms=20_000
    )
    settings = ConsumerConfig(flush_interval_s=0.05, gather_ms=0, batch_size=3)
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path / "redis")) as server, ExitStack() as stack:
        await asyncio.to_thread(fill_stores, stores, server.address)
        client = async_client(stores, server.address)
        await client.flushall()  # of what was served before there were records nothing is known
        users = UserFeatureStore(StoreConnection(stores, server.address, client), SHOP)
        consumer = stack.enter_context(open_consumer(settings, stores, server.address, "UTC", "one", ConsumerMeter()))
        store = InteractionStore(StoreConnection(stores, server.address, client))
        shop = Shop(tmp_path, stores, server.address, store, users, consumer)
        first = await shop.play(5, USERS[:-1])
        await asyncio.to_thread(shop.materialize, shop.preprocess("tables"))
        second = await shop.play(6, USERS[1:])
        await shop.flush()
        await asyncio.to_thread(shop.materialize, shop.preprocess("two_days"))
        third = await shop.play(7, USERS)
        await shop.flush()
        await client.aclose()

    rows = trained(shop.preprocess("all"))
    seen = [name for name in first if shop.online[name][0] is not None] + second + third
    assert {name: rows[name][0] for name in seen} == {name: shop.online[name][0] for name in seen}
    assert {name: rows[name] for name in second + third} == {name: shop.online[name] for name in second + third}
    assert len({shop.online[name] for name in second + third}) > 5
    (shop.records / "snapshots").rename(tmp_path / "snapshots")
    (shop.records / "user_activity").rename(tmp_path / "user_activity")
    computed = trained(shop.preprocess("computed"))  # what rows would hold if nobody had told what was served
    for place in (0, 1):
        assert any(computed[name][place] != shop.online[name][place] for name in second + third)
