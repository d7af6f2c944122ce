"""One Redis Stream, its consumers, and what they must not lose."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis

from contracts.errors import StoreError
from serving.interactions import redis_stream
from serving.interactions.redis_stream import RedisStreamSink, RedisStreamSource
from serving.interactions.streams import Backlog, OutgoingEntry
from serving.stores.config import StoreConfig
from serving.stores.embedded import EmbeddedRedis

pytestmark = pytest.mark.redis
STREAM = "toys:v3:interactions"
LONG_S = 3_600.0
Open = Callable[..., RedisStreamSource]


@pytest.fixture
def source(server: EmbeddedRedis, client: redis.Redis, stores: StoreConfig) -> Open:
    def opened(consumer: str = "one", claim_after_s: float = LONG_S) -> RedisStreamSource:
        return RedisStreamSource(stores, server.address, STREAM, "group", consumer, claim_after_s=claim_after_s)

    return opened


def put(client: redis.Redis, *bodies: str) -> list[str]:
    return [client.xadd(STREAM, {"event": body}).decode() for body in bodies]


def bodies(source: RedisStreamSource, limit: int = 100) -> list[str]:
    return [entry.body.decode() for entry in source.read(limit, 0)]


def test_each_entry_comes_to_one_consumer_in_order(source: Open, client: redis.Redis) -> None:
    ids = put(client, "a", "b", "c")  # before there was a group
    one, two = source("one"), source("two")
    first = one.read(2, 0)
    assert [(entry.id, entry.kind, entry.body, entry.deliveries) for entry in first] == [
        (ids[0], "event", b"a", 1),
        (ids[1], "event", b"b", 1),
    ]
    assert [entry.accepted_ms for entry in first] == [int(id_.split("-")[0]) for id_ in ids[:2]]
    assert bodies(two) == ["c"]
    assert bodies(one) == bodies(two) == []
    put(client, "d")
    assert [entry.body for entry in two.read(1, 30)] == [b"d"]


def test_entries_of_a_dead_consumer_are_taken_over_and_count_their_deliveries(
    source: Open, client: redis.Redis
) -> None:
    put(client, "a", "b")
    assert bodies(source("dead")) == ["a", "b"]
    assert bodies(source("patient")) == []
    for deliveries in (2, 3):
        time.sleep(0.02)
        found = source("heir", claim_after_s=0.01).read(10, 0)
        assert [(entry.body, entry.deliveries) for entry in found] == [(b"a", deliveries), (b"b", deliveries)]


def test_the_more_consumers_died_of_entries_the_fewer_are_handed_out_at_once(source: Open, client: redis.Redis) -> None:
    put(client, *(f"{number:02d}" for number in range(40)))
    sizes = []
    for _ in range(5):
        sizes.append(len(source("dies", claim_after_s=0.01).read(100, 0)))
        time.sleep(0.02)
    assert sizes == [40, 40, 32, 1, 1]
    found = source("heir", claim_after_s=0.01).read(100, 0)
    assert [(entry.body, entry.deliveries) for entry in found] == [(b"00", 6)]


def test_a_sign_of_life_keeps_entries(source: Open, client: redis.Redis) -> None:
    put(client, "a", "b")
    slow = source("slow")
    (first, second) = slow.read(10, 0)
    time.sleep(0.3)
    slow.renew([first.id])
    (taken,) = source("other", claim_after_s=0.25).read(10, 0)
    assert taken.id == second.id
    held = {entry["message_id"]: entry for entry in client.xpending_range(STREAM, "group", "-", "+", 10)}
    assert held[first.id.encode()]["times_delivered"] == 1  # a renewal is no delivery


def test_the_stream_keeps_what_is_not_acknowledged_and_nothing_else(source: Open, client: redis.Redis) -> None:
    ids = put(client, "a", "b", "c", "d")
    one = source()
    one.read(3, 0)
    one.acknowledge([ids[1]])
    assert [id_.decode() for id_, _ in client.xrange(STREAM)] == ids
    one.acknowledge([ids[0]])
    assert [id_.decode() for id_, _ in client.xrange(STREAM)] == ids[2:]
    one.acknowledge([ids[2]])
    assert [id_.decode() for id_, _ in client.xrange(STREAM)] == ids[3:]
    assert bodies(one) == ["d"]
    one.acknowledge([ids[3]])
    assert client.xlen(STREAM) == 0


def test_another_groups_entries_are_kept(source: Open, client: redis.Redis) -> None:
    ids = put(client, "a", "b")
    client.xgroup_create(STREAM, "others", id="0")
    client.xreadgroup("others", "x", {STREAM: ">"}, count=1)
    one = source()
    one.read(10, 0)
    one.acknowledge(ids)
    assert client.xlen(STREAM) == 2
    client.xack(STREAM, "others", ids[0])
    one.acknowledge([])
    assert [id_.decode() for id_, _ in client.xrange(STREAM)] == ids[1:]


def test_the_backlog_is_what_nobody_has_acknowledged(source: Open, client: redis.Redis) -> None:
    one = source()
    assert one.read(1, 0) == []
    assert one.backlog() == Backlog(0, 0.0)
    now = client.time()[0]
    client.xadd(STREAM, {"event": "old"}, id=f"{1000 * (now - 90)}-0")
    put(client, "new")
    backlog = one.backlog()
    assert backlog.entries == 2
    assert 90 <= backlog.lag_s < 120
    old = one.read(1, 0)
    one.acknowledge([old[0].id])
    assert one.backlog().entries == 1


def test_a_lost_group_is_made_again(source: Open, client: redis.Redis) -> None:
    one = source()
    put(client, "a")
    assert bodies(one) == ["a"]
    client.flushall()
    one.acknowledge(["1-1"])
    put(client, "b")
    assert bodies(one) == ["b"]


def test_consumers_that_are_long_gone_are_forgotten_unless_they_hold_something(
    source: Open, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_stream, "_FORGET_CONSUMER_AFTER_S", 0)
    ids = put(client, "a", "b")
    gone, holding = source("gone"), source("holding")
    gone.read(1, 0)
    gone.acknowledge(ids[:1])
    holding.read(1, 0)
    time.sleep(0.01)
    source("new").read(1, 0)
    names = {consumer["name"] for consumer in client.xinfo_consumers(STREAM, "group")}
    assert b"gone" not in names
    assert b"holding" in names


def test_a_sink_keeps_the_newest_entries(server: EmbeddedRedis, client: redis.Redis, stores: StoreConfig) -> None:
    sink = RedisStreamSink(stores, server.address, "toys:v3:dead_letters", max_entries=1)
    sink.append([OutgoingEntry("event", b"x", note="why")])
    sink.append([OutgoingEntry("event", b"y")] * 500)
    found = client.xrange("toys:v3:dead_letters")
    assert len(found) < 500
    assert found[-1][1] == {b"event": b"y"}
    client.flushall()
    sink.append([OutgoingEntry("event", b"x", note="why")])
    assert client.xrange("toys:v3:dead_letters")[0][1] == {b"event": b"x", b"note": b"why"}
    sink.close()


def test_a_store_that_is_not_there(stores: StoreConfig) -> None:
    source = RedisStreamSource(stores, "redis://127.0.0.1:1", STREAM, "group", "one", claim_after_s=1)
    with pytest.raises(StoreError, match=r"no connection to the store at redis://127.0.0.1:1"):
        source.read(1, 0)
    source.close()


def test_ids_that_redis_does_not_give_are_refused() -> None:
    with pytest.raises(StoreError, match="an entry of the stream has the id b'x-1', expected milliseconds-sequence"):
        redis_stream._number(b"x-1")
