"""The same consumer on Kinesis, which moto plays: nothing in the consumer knows the difference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import redis
from moto import mock_aws

from contracts import records as r
from contracts.clock import ShopCalendar
from contracts.errors import StoreError
from contracts.interactions import STREAM_FIELD, encode
from serving.interactions.config import ConsumerConfig
from serving.interactions.consumer import FeatureConsumer
from serving.interactions.kinesis import KinesisSink, KinesisSource
from serving.interactions.meter import ConsumerMeter
from serving.interactions.records import RecordWriter
from serving.interactions.redis_stream import RedisStreamSource
from serving.interactions.streams import OutgoingEntry, Streams
from serving.stores.config import StoreConfig
from serving.stores.embedded import EmbeddedRedis
from serving.stores.keys import Keys
from serving.stores.top_category import TopCategoryStore
from tests.fixtures.streams import accept, event
from training.records import read_records

pytestmark = pytest.mark.redis
SHOP = "toys"
EVENTS, DEAD = "events", "dead-letters"
KIND = STREAM_FIELD.decode()


@pytest.fixture
def kinesis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    with mock_aws():
        client = boto3.client("kinesis", region_name="eu-central-1")
        for name, shards in ((EVENTS, 2), (DEAD, 1)):
            client.create_stream(StreamName=name, ShardCount=shards)
        yield client


def source(kinesis: Any, client: redis.Redis, stream: str = EVENTS) -> KinesisSource:
    return KinesisSource(kinesis, stream, client, f"toys:v3:kinesis:{stream}")


def put(kinesis: Any, *keys: str) -> None:
    KinesisSink(kinesis, EVENTS).append([OutgoingEntry("event", f"{key}\nbody".encode(), key) for key in keys])


def drain(stream: KinesisSource) -> list[Any]:
    found = []
    for _ in range(3):
        found += stream.read(100, 0)
    return found


def test_what_is_not_acknowledged_is_handed_out_again(kinesis: Any, client: redis.Redis) -> None:
    put(kinesis, *"abcdefgh")
    first = source(kinesis, client)
    entries = drain(first)
    assert {entry.body for entry in entries} == {f"{key}\nbody".encode() for key in "abcdefgh"}
    assert {entry.kind for entry in entries} == {"event"}
    assert all(entry.accepted_ms > 1_600_000_000_000 for entry in entries)
    assert drain(first) == []
    assert first.backlog().entries == 8
    shards = {entry.id.rpartition(":")[0] for entry in entries}
    assert len(shards) == 2
    of_shard = {name: [entry for entry in entries if entry.id.startswith(name)] for name in shards}
    kept = []
    for some in of_shard.values():
        first.acknowledge([some[0].id, some[-1].id])  # what comes after a gap is not done
        kept += some[1:] if len(some) > 1 else []
    heir = source(kinesis, client)
    assert {entry.id for entry in drain(heir)} == {entry.id for entry in kept}
    heir.acknowledge([entry.id for entry in kept])
    assert heir.backlog().entries == 0
    assert drain(source(kinesis, client)) == []


def test_the_consumer_reads_kinesis_as_it_reads_redis(
    kinesis: Any, client: redis.Redis, server: EmbeddedRedis, stores: StoreConfig
) -> None:
    events = [event(number, f"u{number % 3}") for number in range(10)]
    accept(client, SHOP, events, ["shoes"] * 10)
    sink = KinesisSink(kinesis, EVENTS)
    sink.append([OutgoingEntry(KIND, encode(one), one.subject) for one in events])
    sink.append([OutgoingEntry(KIND, b"{", "u1")])
    served = RedisStreamSource(stores, server.address, Keys(SHOP).served, "records", "one", claim_after_s=60)
    features = TopCategoryStore(stores, server.address)
    consumer = FeatureConsumer(
        Streams(source(kinesis, client), served, KinesisSink(kinesis, DEAD)),
        features,
        RecordWriter(stores.records_dir, ShopCalendar("UTC")),
        ConsumerConfig(flush_interval_s=1e-9, gather_ms=0),
        ConsumerMeter(),
    )
    while consumer.step(0):
        pass
    assert sorted(read_records(stores.records_dir, r.INTERACTIONS)["event_id"].to_pylist()) == [
        f"e{number}" for number in range(10)
    ]
    assert client.exists(*map(Keys(SHOP).features, ["u0", "u1", "u2"])) == 3
    assert [entry.body for entry in drain(source(kinesis, client, DEAD))] == [b"{"]
    assert drain(source(kinesis, client)) == []
    served.close()
    features.close()


def test_a_stream_that_is_not_there(kinesis: Any, client: redis.Redis) -> None:
    with pytest.raises(StoreError, match=r"Kinesis failed for the stream nowhere: .*check its name and our access"):
        source(kinesis, client, "nowhere").read(1, 0)
    with pytest.raises(StoreError, match="Kinesis failed for the stream nowhere"):
        KinesisSink(kinesis, "nowhere").append([OutgoingEntry("event", b"x")])


def test_an_expired_place_is_found_again(kinesis: Any, client: redis.Redis) -> None:
    put(kinesis, *"abcd")
    stream = source(kinesis, client)
    read = drain(stream)
    for name, shard in stream._shards.items():
        stream._reopen(name, shard)  # what an ExpiredIteratorException leads to
    assert len(read) == 4
    assert drain(stream) == []
    put(kinesis, *"ef")
    assert len(drain(stream)) == 2
