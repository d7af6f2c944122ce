"""Events that are posted one after the other leave the state that the offline definitions give."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import redis

from contracts.bloom import item_hashes
from contracts.ids import session_subject, user_subject
from contracts.interactions import Interaction
from serving.stages.history import HistoryBuilder
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.embedded import EmbeddedRedis
from serving.stores.interactions import InteractionStore, NewInteraction
from serving.stores.recent import RecentItemStore, decode, top_category_of
from serving.stores.seen import SeenStore
from serving.stores.table_values import recent_lists
from tests.fixtures.plain_preprocess import run_without_ray
from tests.fixtures.served_bundle import request_batch
from training.features import preprocess as job
from training.features.config import PreprocessConfig
from training.features.events import EventTable
from training.features.online import final_activity, recent_interactions
from training.features.processed import Processed, open_processed
from training.simulator import SimulatorConfig, simulate

pytestmark = [pytest.mark.slow, pytest.mark.redis]
BATCH = 40


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Processed:
    folder = tmp_path_factory.mktemp("shop")
    simulate(SimulatorConfig(size="debug", impressions={"slates_per_day": 0}), folder / "raw")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "_run", run_without_ray)
        job.preprocess(PreprocessConfig(), folder / "raw", folder / "processed", shop="tiny")
    return open_processed(folder / "processed")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path_factory.mktemp("redis"))) as server:
        yield server.address


@pytest.fixture
def config(address: str) -> StoreConfig:
    with redis.Redis.from_url(address) as client:
        client.flushall()
    return StoreConfig(shop="tiny", read_timeout_ms=60_000, history_length=20)


def posted(shop: Processed, events: EventTable, rows: np.ndarray) -> list[NewInteraction]:
    """Rows of the processed tables as the gateway would write them, in order of time."""
    categories = (None, *shop.transforms.vocabularies["category_l1"].tokens)
    items = shop.items["item_id"].to_pylist()
    hashes, is_user = item_hashes(items), shop.is_user()
    new = []
    for row in rows[np.argsort(events.timestamp[rows], kind="stable")].tolist():
        item, subject = int(events.item_row[row]), events.subject[row]
        name = str(events.subject_ids[subject])
        interaction = Interaction(
            event_id=str(row),
            item_id=items[item],
            event="view",
            timestamp=int(events.timestamp[row]),
            accepted_at=int(events.timestamp[row]),
            **({"user_id": name} if is_user[subject] else {"session_id": name}),
        )
        new.append(
            NewInteraction(interaction, categories[shop.item_category[item]], (hashes[item], int(events.day[row])))
        )
    return new


def names_of_subjects(shop: Processed) -> list[str]:
    named = zip(shop.events().subject_ids, shop.is_user(), strict=True)
    return [user_subject(name) if is_user else session_subject(name) for name, is_user in named]


async def test_recent_items_categories_and_seen_items(shop: Processed, config: StoreConfig, address: str) -> None:
    stores = StoreConnection.open(config, address)
    events = shop.events()
    new = posted(shop, events, np.arange(len(events)))
    store = InteractionStore(stores)
    for start in range(0, len(new), BATCH):
        assert set(await store.add(new[start : start + BATCH])) == {"accepted"}

    subjects = names_of_subjects(shop)
    offline = {
        key: decode(value)
        for table in recent_interactions(shop, config.history_length)
        for key, value in recent_lists(table, config)
    }
    recents = RecentItemStore(stores)
    online, days = await recents.read(subjects), await recents.read_day(subjects)
    assert online == [offline[f"tiny:v3:recent:{subject}"] for subject in subjects]
    assert days == [offline[f"tiny:v3:day:{subject}"] for subject in subjects]
    activity = {user_subject(row["user_id"]): row["top_category"] for row in final_activity(shop).to_pylist()}
    assert len(activity) > 20
    online_categories = {subject: top_category_of(day) for subject, day in zip(subjects, days, strict=True)}
    assert {user: online_categories[user] for user in activity} == activity

    today = shop.info.last_day
    filters = await SeenStore(stores).read(subjects, today)
    window = np.flatnonzero(events.day > today - config.seen_window_days)
    hashes = item_hashes(shop.items["item_id"].to_pylist())
    asked = events.item_row[window], events.subject[window].astype(np.int64)
    assert (await filters.about(hashes, *asked)).seen(hashes[asked[0]], asked[1]).all()
    before = np.zeros((len(subjects), shop.num_items), dtype=bool)
    before[events.subject[window], events.item_row[window]] = True
    owners, rows = np.nonzero(~before)
    answers = await filters.about(hashes, rows.astype(np.int32), owners)
    assert answers.seen(hashes[rows], owners).mean() <= config.seen_error_rate
    await stores.client.aclose()


async def test_the_history_before_each_subjects_last_event(shop: Processed, config: StoreConfig, address: str) -> None:
    stores = StoreConnection.open(config, address)
    events = shop.events()
    last = events.offsets[1:] - 1
    store = InteractionStore(stores)
    new = posted(shop, events, np.setdiff1d(np.arange(len(events)), last))
    for start in range(0, len(new), BATCH):
        await store.add(new[start : start + BATCH])

    offline = events.history(last, config.history_length, config.history_days)
    item_rows = {item: row for row, item in enumerate(shop.items["item_id"].to_pylist())}
    build = HistoryBuilder(item_rows, config.history_length, config.history_days)
    recents = await RecentItemStore(stores).read(names_of_subjects(shop))
    for subject, recent in enumerate(recents):
        now = int(events.timestamp[last[subject]])
        online = build(request_batch(1, now=now), [recent])
        np.testing.assert_array_equal(online.rows[0], offline.rows[subject])
        np.testing.assert_array_equal(online.age_s[0], offline.age_s[subject])
        np.testing.assert_array_equal(online.same_session[0], offline.same_session[subject])
    await stores.client.aclose()
