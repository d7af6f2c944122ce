"""Whatever the tables say, an accepted event is there after a run of materialize, and once."""

from __future__ import annotations

import asyncio
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import redis

from contracts.bloom import item_hashes
from contracts.clock import ShopCalendar
from contracts.interactions import STREAM_FIELD, Interaction
from serving.stores import accepted as module
from serving.stores.accepted import ACCEPTED, AcceptedEvents, AcceptedSource
from serving.stores.config import StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.embedded import EmbeddedRedis
from serving.stores.interactions import InteractionStore, NewInteraction
from serving.stores.materialize import StoreTables, materialize
from serving.stores.merge import TablesEnd
from serving.stores.recent import RecentItemStore, decode
from serving.stores.seen import SeenStore
from tests.fixtures.read_stores import user_features
from tests.fixtures.seen import are_seen

pytestmark = pytest.mark.redis
NOON = 1_767_268_800
TODAY = NOON // 86_400
BOUGHT_AT = NOON + 3_600
CATALOGUE = pa.table({"item_id": ["old", "bought"], "category_l1": ["books", "shoes"]})


def row(item: str, timestamp: int, event_id: str | None = None) -> dict[str, object]:
    names = {"subject_id": "u:u1", "item_id": item, "category_l1": "books"}
    return names | {"timestamp": timestamp, "day": timestamp // 86_400, "event_id": event_id}


def tables(rows: list[dict[str, object]], end: TablesEnd, **source: object) -> StoreTables:
    users = pa.table({"user_id": ["u1"], "event_timestamp": [NOON]})
    text = pa.array([None], pa.string())
    profiles = users.append_column("age", pa.array([30.0])).append_column("gender", text)
    activity = users.append_column("top_category", pa.array(["books"])).append_column("top_category_long", text)
    part = pa.Table.from_pylist(rows)
    part = part.set_column(5, "event_id", part["event_id"].cast(pa.string()))
    return StoreTables(
        profiles, activity, [part], [part], end, accepted=AcceptedSource(**{"items": CATALOGUE, **source})
    )


async def buy(config: StoreConfig, address: str, *, subject: str = "u1", item: str = "bought") -> None:
    event = Interaction(
        event_id="e1", item_id=item, event="purchase", timestamp=BOUGHT_AT, accepted_at=BOUGHT_AT, user_id=subject
    )
    stores = StoreConnection.open(config, address)
    new = NewInteraction(event, "shoes", (item_hashes([item])[0], TODAY))
    assert await InteractionStore(stores).add([new]) == ["accepted"]
    await stores.client.aclose()


MORNING = row("old", NOON - 9_000)
WHOLE_DAY = TablesEnd(TODAY, (TODAY + 1) * 86_400)


@pytest.mark.parametrize(
    ("rows", "end"),
    [
        pytest.param([MORNING], WHOLE_DAY, id="an export that ran at noon"),
        pytest.param([row("old", NOON - 86_400)], TablesEnd(TODAY - 1, TODAY * 86_400), id="an export of yesterday"),
        pytest.param([MORNING, row("old", BOUGHT_AT + 1)], WHOLE_DAY, id="a row after the purchase"),
        pytest.param([MORNING], TablesEnd(47_116, 47_117 * 86_400), id="an end in 2099"),
        pytest.param([MORNING, row("bought", BOUGHT_AT)], WHOLE_DAY, id="the shop logs it too"),
        pytest.param([MORNING, row("bought", BOUGHT_AT - 2, "e1")], WHOLE_DAY, id="the same id at another second"),
        pytest.param([row("old", NOON - 9_000, "e1")], WHOLE_DAY, id="the same id of another item"),
        pytest.param([MORNING | {"subject_id": "u:u2"}], WHOLE_DAY, id="the tables do not know the user"),
    ],
)
async def test_a_purchase_between_export_and_materialize(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig, rows: list[dict[str, object]], end: TablesEnd
) -> None:
    await buy(config, server.address)
    await asyncio.to_thread(
        materialize, config, server.address, tables(rows, end), bundle_version="b1", written_at=NOON + 7_200
    )
    stores = StoreConnection.open(config, server.address)
    store = RecentItemStore(stores)
    (recent,), (day,) = await store.read(["u:u1"]), await store.read_day(["u:u1"])
    told = Counter(item["item_id"] for item in rows if item["subject_id"] == "u:u1") | Counter(["bought"])
    assert Counter(recent.item_ids) == told, "nothing is lost, and what both have counts once"
    assert len(day.item_ids) == sum(time > day.timestamps[0] - 86_400 for time in recent.timestamps)
    assert await are_seen(SeenStore(stores), ["u:u1"], ["bought"], TODAY) == [True]
    await stores.client.aclose()


async def test_the_category_follows_a_purchase_in_the_tables_period(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    await buy(config, server.address)
    content = tables([row("old", NOON - 86_400)], WHOLE_DAY)
    await asyncio.to_thread(materialize, config, server.address, content, bundle_version="b1", written_at=NOON)
    assert (await user_features(config, server.address, ["u1"])).columns["top_category"] == ("shoes",)


def recorded(*rows: tuple[str, str, int, str, str, int]) -> pa.Table:
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=ACCEPTED)


def test_what_was_recorded_counts_beside_the_stream(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    """The consumer has recorded e1 twice and e2, and the stream still holds e2, an erasure and rubbish."""
    asyncio.run(buy(config, server.address, subject="u2"))
    bulk.xadd("toys:v3:interactions", {"erasure": "{}"})
    bulk.xadd("toys:v3:interactions", {STREAM_FIELD: "rubbish"})
    one, two = ("u:u1", "bought", BOUGHT_AT, "view", "e1", 7), ("u:u2", "bought", BOUGHT_AT, "purchase", "e1", 9)
    gone = ("u:u3", "bought", BOUGHT_AT, "view", "e1", 8)
    source = AcceptedSource(recorded(one, two, one, gone), CATALOGUE, ("purchase",), ShopCalendar("Asia/Tokyo"))
    events = AcceptedEvents(bulk, "toys", source, {"u3"})
    assert events.subjects == {"u:u1", "u:u2"}
    (table,) = events.with_recent([])
    told = table.select(["subject_id", "item_id", "category_l1", "day"]).to_pylist()
    assert [tuple(values.values()) for values in told] == [
        ("u:u1", "bought", "shoes", TODAY),
        ("u:u2", "bought", "shoes", TODAY),
    ]
    (table,) = events.with_seen([], TODAY)
    assert table["subject_id"].to_pylist() == ["u:u2"], "u1 has only looked"
    assert list(events.with_seen([], TODAY + 1)) == []


def test_many_subjects_come_in_tables_of_whole_ones(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROWS", 3)
    rows = [(f"u:{number % 4}", "old", number, "view", f"e{number}", 50 - number) for number in range(17)]
    events = AcceptedEvents(bulk, "toys", AcceptedSource(recorded(*rows)), set())
    parts = list(events.with_recent([]))
    subjects = [part["subject_id"].to_pylist() for part in parts]
    assert [sorted(set(some)) for some in subjects] == [["u:0"], ["u:1"], ["u:2"], ["u:3"]]
    assert sum(map(len, parts)) == 17
    assert (np.diff(parts[1]["timestamp"].to_numpy()) < 0).all(), "in the order of acceptance"


async def test_a_lost_store_gets_what_was_recorded(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    event = ("u:u1", "bought", BOUGHT_AT, "purchase", "e1", 1_000 * BOUGHT_AT)
    content = tables([MORNING], TablesEnd(TODAY - 1, TODAY * 86_400), recorded=recorded(event))
    await asyncio.to_thread(materialize, config, server.address, content, bundle_version="b1", written_at=NOON)
    assert decode(bulk.get("toys:v3:recent:u:u1")).item_ids == ("bought", "old")
