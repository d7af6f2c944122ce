"""Training-serving skew: for every event, the feature that was online when it was accepted is the one in its row."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from contracts import columns as c
from contracts.bloom import item_hashes
from contracts.clock import DAY_S
from contracts.interactions import Interaction
from serving.interactions.build import open_consumer
from serving.interactions.config import ConsumerConfig
from serving.interactions.consumer import FeatureConsumer
from serving.interactions.meter import ConsumerMeter
from serving.stores.client import async_client
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.embedded import EmbeddedRedis
from serving.stores.interactions import InteractionStore, NewInteraction
from serving.stores.user_features import UserFeatureStore
from tests.fixtures.filled_stores import fill_stores
from tests.fixtures.plain_preprocess import run_without_ray
from tests.fixtures.raw_tables import FIRST_DAY, START, write_shop
from training.compaction import CompactConfig, compact
from training.features import preprocess as job
from training.features.config import PreprocessConfig
from training.features.processed import open_processed

pytestmark = pytest.mark.redis
SHOP = "tiny"
CATEGORIES = {"i1": "lamps", "i2": "lamps", "i3": "tables", "i4": None}
USERS = ("u1", "u2", "u3", "new1", "new2")
NUM_EVENTS = 120


async def play(store: InteractionStore, users: UserFeatureStore, consumer: FeatureConsumer) -> dict[str, str | None]:
    """Events of all users while the consumer lags now and then; what was online as each was accepted, by event id.

    The first events come before serving has written anything: what is online then is left to be computed.
    """
    rng = np.random.default_rng(3)
    online: dict[str, str | None] = {}
    start = START + 5 * DAY_S
    for number in range(NUM_EVENTS):
        user, item = str(rng.choice(USERS)), str(rng.choice(list(CATEGORIES)))
        at = start + int(number * 2 * DAY_S / NUM_EVENTS)
        online[f"o{number}"] = (await users.read([user])).top_category[0]
        event = Interaction(
            event_id=f"o{number}", user_id=user, item_id=item, event="view", timestamp=at, accepted_at=at
        )
        new = NewInteraction(event, CATEGORIES[item], (item_hashes([item])[0], at // DAY_S))
        assert await store.add([new]) == ["accepted"]
        if rng.random() < 0.4:
            await asyncio.to_thread(consumer.step, 0)
            time.sleep(0.002)  # the store's clock tells milliseconds
    while await asyncio.to_thread(consumer.step, 0):
        pass
    consumer.stop()
    await asyncio.to_thread(consumer.run)  # writes what it has taken
    return online


async def test_the_value_that_was_served_is_the_value_that_is_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = StoreConfig(
        shop=SHOP, feast_dir=tmp_path / "feast", records_dir=tmp_path / "records", read_timeout_ms=20_000
    )
    settings = ConsumerConfig(flush_interval_s=0.05, gather_ms=0, batch_size=3)
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path / "redis")) as server, ExitStack() as stack:
        await asyncio.to_thread(fill_stores, stores, server.address)
        client = async_client(stores, server.address)
        await client.flushall()  # the tables' own values are materialize's affair
        users = UserFeatureStore(stores, server.address, client)
        consumer = stack.enter_context(open_consumer(settings, stores, server.address, "UTC", "one", ConsumerMeter()))
        online = await play(InteractionStore(stores, server.address, client), users, consumer)
        await client.aclose()

    records = stores.records_dir / SHOP
    compact(records, CompactConfig(), START + 30 * DAY_S)
    write_shop(tmp_path / "raw")
    monkeypatch.setattr(job, "_run", run_without_ray)
    job.preprocess(PreprocessConfig(), tmp_path / "raw", tmp_path / "run", shop=SHOP, records_dir=records)
    processed = open_processed(tmp_path / "run")
    names = [None, *processed.transforms.vocabularies[c.CATEGORY_L1].tokens]
    trained = dict(zip(processed.event_ids(), (names[code] for code in processed.events().top_category), strict=True))
    first_served = {event_id for event_id, value in online.items() if value is not None}
    assert processed.info.last_day == FIRST_DAY + 6
    assert {event_id: trained[event_id] for event_id in first_served} == {
        event_id: online[event_id] for event_id in first_served
    }
    computed = _computed(processed.events().top_category, tmp_path, monkeypatch)
    assert len(first_served) > NUM_EVENTS / 2
    assert any(computed[event_id] != online[event_id] for event_id in first_served)  # the consumer did lag


def _computed(_: object, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """What the rows would hold if nobody had told what was served."""
    records = folder / "records" / SHOP / "user_activity"
    records.rename(records.with_name("elsewhere"))
    job.preprocess(
        PreprocessConfig(), folder / "raw", folder / "computed", shop=SHOP, records_dir=folder / "records" / SHOP
    )
    processed = open_processed(folder / "computed")
    names = [None, *processed.transforms.vocabularies[c.CATEGORY_L1].tokens]
    return dict(zip(processed.event_ids(), (names[code] for code in processed.events().top_category), strict=True))
