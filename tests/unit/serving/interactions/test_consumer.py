"""The consumer in one process: what it does with good, bad and unlucky entries, and with stores that fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from contracts import records as r
from contracts.config import validate
from contracts.errors import ConfigError
from contracts.interactions import ERASURE_FIELD, STREAM_FIELD, Erasure, Interaction, encode, encode_erasure
from serving.interactions.config import ConsumerConfig
from serving.interactions.meter import (
    BACKLOG,
    DEAD_LETTERS,
    EVENTS,
    FAILURES,
    FEATURE_MS,
    LAG_S,
    ConsumerMeter,
)
from serving.interactions.records import RecordWriter
from serving.stores.config import StoreConfig
from serving.stores.keys import CONSUMERS, Keys
from serving.stores.top_category import TopCategoryStore
from serving.watching.metrics import Snapshot
from tests.fixtures.streams import accept, event
from tests.unit.serving.interactions.conftest import AT_ONCE, SHOP, Open
from training.tables import find_table, read_files

pytestmark = pytest.mark.redis
KEYS = Keys(SHOP)
PATIENCE_S = 60.0
NEVER = ConsumerConfig(flush_interval_s=1_000, claim_after_s=3_600, gather_ms=0)


def recorded(stores: StoreConfig, schema: Any = r.INTERACTIONS) -> list[dict[str, Any]]:
    folder = stores.records_dir / SHOP
    return read_files(find_table(folder, schema)).to_pylist() if (folder / schema.name).is_dir() else []


def letters(client: redis.Redis) -> list[str]:
    return [fields[b"note"].decode().partition(": ")[2] for _, fields in client.xrange(KEYS.dead_letters)]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_events_become_features_and_records_and_are_acknowledged(
    consumer: Open, client: redis.Redis, stores: StoreConfig
) -> None:
    events = [event(1), event(2, None), event(3, "u2", session_id="s2", request_id="r1")]
    accept(client, SHOP, events, ["shoes", "toys", "books"])
    assert consumer().step(0) == 3
    assert {row["event_id"] for row in recorded(stores)} == {"e1", "e2", "e3"}
    assert {(row["user_id"], row["top_category"]) for row in recorded(stores, r.USER_ACTIVITY)} == {
        ("u1", "shoes"),
        ("u2", "books"),
    }
    assert client.exists(*map(KEYS.features, ["u1", "u2"])) == 2
    assert client.xlen(KEYS.interactions) == client.xlen(KEYS.served) == 0
    assert letters(client) == []


def test_features_do_not_wait_for_records(consumer: Open, client: redis.Redis, stores: StoreConfig) -> None:
    accept(client, SHOP, [event(1)], ["shoes"])
    waiting = consumer(NEVER)
    waiting.step(0)
    assert client.exists(KEYS.features("u1"))
    assert recorded(stores) == []
    assert client.xpending(KEYS.interactions, CONSUMERS)["pending"] == 1
    waiting.stop()
    waiting.run()  # what was taken is written at the end
    assert len(recorded(stores)) == 1
    assert client.xlen(KEYS.interactions) == 0


def test_a_full_buffer_is_flushed(consumer: Open, client: redis.Redis, stores: StoreConfig) -> None:
    accept(client, SHOP, [event(number) for number in range(5)], ["shoes"] * 5)
    eager = consumer(NEVER.model_copy(update={"batch_size": 2, "flush_rows": 3}))
    eager.step(0)
    assert recorded(stores) == []
    eager.step(0)
    assert len(recorded(stores)) == 4


def test_poison_goes_to_the_dead_letters_and_stops_nobody(
    consumer: Open, client: redis.Redis, stores: StoreConfig
) -> None:
    poison = [
        {STREAM_FIELD: b"{"},
        {STREAM_FIELD: encode(event(7)).replace(b"1000000", b"-5")},
        {ERASURE_FIELD: b"{}"},
        {b"other": b"x"},
    ]
    for number, fields in enumerate(poison):
        client.xadd(KEYS.interactions, fields)
        accept(client, SHOP, [event(number)], ["shoes"])
    consumer().step(0)
    assert len(recorded(stores)) == 4
    assert client.xlen(KEYS.interactions) == 0
    found = letters(client)
    assert len(found) == 4
    for message, part in zip(
        found,
        ["is not an interaction", "timestamp -5 is no time", "is not an erasure", "kind 'other'; expected"],
        strict=True,
    ):
        assert part in message
    assert [fields[b"other"] for _, fields in client.xrange(KEYS.dead_letters) if b"other" in fields] == [b"x"]


def test_an_unreadable_list_costs_the_feature_only(consumer: Open, client: redis.Redis, stores: StoreConfig) -> None:
    accept(client, SHOP, [event(1), event(2, "u2")], ["shoes", "toys"])
    client.set(KEYS.day("u:u1"), b"\xc1")
    consumer().step(0)
    assert len(recorded(stores)) == 2
    assert [row["user_id"] for row in recorded(stores, r.USER_ACTIVITY)] == ["u2"]
    assert letters(client)[0].startswith("recorded, but without a feature: ")


class Choosy(RecordWriter):
    """Cannot write one of the events, for a reason that nobody thought of."""

    def interactions(self, events: Sequence[tuple[Interaction, int]]) -> None:
        if any(one.event_id == "e3" for one, _ in events):
            raise ValueError("not this one")
        super().interactions(events)


def test_an_unexpected_error_is_narrowed_down_to_its_entry(
    consumer: Open, client: redis.Redis, stores: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.interactions.build.RecordWriter", Choosy)
    accept(client, SHOP, [event(number) for number in range(6)], ["shoes"] * 6)
    consumer().step(0)
    assert {row["event_id"] for row in recorded(stores)} == {"e0", "e1", "e2", "e4", "e5"}
    assert letters(client) == ["ValueError('not this one')"]
    assert client.xlen(KEYS.interactions) == 0


def test_an_erased_user_leaves_a_tombstone(consumer: Open, client: redis.Redis, stores: StoreConfig) -> None:
    client.xadd(KEYS.interactions, {ERASURE_FIELD: encode_erasure(Erasure(user_id="u1", erased_at=77))})
    consumer().step(0)
    assert recorded(stores, r.TOMBSTONES) == [{"user_id": "u1", "erased_at": 77}]
    assert client.xlen(KEYS.interactions) == 0


def test_dead_letters_of_an_erased_user_go(consumer: Open, client: redis.Redis, stores: StoreConfig) -> None:
    kind = STREAM_FIELD.decode()
    letters_of = {name: encode(event(number, name)) for number, name in enumerate(["u1", "u11", "u2"])}
    garbage = [b'{"user_id": "u1", "half', b'{"user_id": "u11", "half']
    ids = [client.xadd(KEYS.dead_letters, {kind: body}) for body in (*letters_of.values(), *garbage)]
    client.xadd(KEYS.interactions, {ERASURE_FIELD: encode_erasure(Erasure(user_id="u1", erased_at=77))})
    consumer().step(0)
    assert [id_ for id_, _ in client.xrange(KEYS.dead_letters)] == [ids[1], ids[2], ids[4]]


def test_an_entry_that_kills_its_consumers_is_given_up_and_takes_no_other_along(
    consumer: Open, client: redis.Redis, stores: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """The process is gone: nothing of the consumer catches it."""

    refresh, deaths = TopCategoryStore.refresh, 0

    def deadly(self: TopCategoryStore, user_ids: Sequence[str]) -> dict[str, str]:
        if "u17" in user_ids:
            raise Killed
        return refresh(self, user_ids)

    monkeypatch.setattr(TopCategoryStore, "refresh", deadly)
    accept(client, SHOP, [event(number, f"u{number}") for number in range(40)], ["shoes"] * 40)
    hasty = NEVER.model_copy(update={"claim_after_s": 0.001})
    while client.xlen(KEYS.interactions):
        one = consumer(hasty, f"consumer{deaths}")
        try:
            while client.xlen(KEYS.interactions):
                one.step(0)
        except Killed:
            deaths += 1
            time.sleep(0.01)
    assert deaths == hasty.max_deliveries
    assert letters(client) == ["handed out 6 times and never acknowledged, more than max_deliveries=5"]
    assert {row["event_id"] for row in recorded(stores)} == {f"e{number}" for number in range(40)} - {"e17"}


def test_what_is_counted(consumer: Open, client: redis.Redis, stores: StoreConfig) -> None:
    taken: list[Snapshot] = []
    stores.records_dir.mkdir()
    (stores.records_dir / SHOP).write_text("no folder")
    meter = ConsumerMeter(taken.append, now_ms=lambda: 1000.0 * client.time()[0] + 60_000)
    accept(client, SHOP, [event(1), event(2)], ["shoes"] * 2)
    client.xadd(KEYS.interactions, {b"other": b"x"})
    counted = consumer(AT_ONCE, "one", meter)
    thread = threading.Thread(target=counted.run)
    thread.start()
    until(lambda: taken)
    (stores.records_dir / SHOP).unlink()
    until(lambda: sum(snapshot.added.get((EVENTS, ()), 0) for snapshot in taken) == 2)
    counted.stop()
    thread.join()
    total = {name: sum(shot.added.get((name, ()), 0) for shot in taken) for name in (EVENTS, DEAD_LETTERS, FAILURES)}
    assert total[DEAD_LETTERS] == 1
    assert total[FAILURES] >= 1
    waits = [value for shot in taken for value in shot.observed.get((FEATURE_MS, ()), [])]
    assert len(waits) == 1, "one of the batch, its oldest event's"
    assert waits[0] > 50_000
    assert taken[-1].current == {(BACKLOG, ()): 0, (LAG_S, ()): 0.0}


def test_a_consumer_without_a_sign_of_life_is_unhealthy(consumer: Open) -> None:
    quiet = consumer(AT_ONCE.model_copy(update={"stuck_after_s": 0.05}))
    quiet.step(0)
    quiet.check()
    time.sleep(0.1)
    with pytest.raises(RuntimeError, match=r"no sign of life for 0 s, more than stuck_after_s=0.05"):
        quiet.check()


def test_claims_that_would_hit_the_living_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"claim_after_s=5 is below twice flush_interval_s=5: consumers would take"):
        validate(ConsumerConfig, {"claim_after_s": 5}, source="x")


def test_the_folder_of_records_is_the_shops(consumer: Open, client: redis.Redis, stores: StoreConfig) -> None:
    accept(client, SHOP, [event(1)], ["shoes"])
    consumer().step(0)
    (file,) = (stores.records_dir / SHOP / "interactions").rglob("*.parquet")
    assert file.parent == Path(stores.records_dir / SHOP / "interactions" / "day=1970-01-12")
