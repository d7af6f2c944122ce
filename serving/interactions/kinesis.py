"""Kinesis as source and sink. Kinesis has no acknowledgements, so checkpoints of the shards are kept in Redis.

Each consumer owns some shards. A restarted consumer, under any name, goes on after the checkpoints of its shards, so
every record is delivered at least once.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias, TypedDict

import redis
from botocore.exceptions import BotoCoreError, ClientError

from contracts.errors import StoreError
from serving.interactions.streams import Backlog, OutgoingEntry, StreamEntry
from serving.stores.client import bulk_errors

_KIND_END: Final = b"\n"
_MAX_RECORDS: Final = 10_000  # limit of Kinesis for one call
_MAX_PUT: Final = 500
_POLL_S: Final = 0.2  # Kinesis allows five reads a second and shard
_EXPIRED: Final = "ExpiredIteratorException"
KinesisClient: TypeAlias = Any
"""boto3's client, which has no types."""


class _Record(TypedDict):
    SequenceNumber: str
    ApproximateArrivalTimestamp: datetime
    Data: bytes


@dataclass
class _Shard:
    """Read position of a shard; its unacknowledged sequence numbers in order, and those of them that are done."""

    iterator: str | None
    open: deque[str] = field(default_factory=deque)
    done: set[str] = field(default_factory=set)
    behind_s: float = 0.0


class KinesisSource:
    """The consumer of some shards.

    Args:
        client: boto3's client of Kinesis.
        stream: name of the stream.
        checkpoints: client of the Redis with the checkpoints.
        key: the hash with the checkpoints.
        shards: ids of this consumer's shards; None = all.
    """

    def __init__(
        self,
        client: KinesisClient,
        stream: str,
        checkpoints: redis.Redis,
        key: str,
        shards: Sequence[str] | None = None,
    ) -> None:
        self._client = client
        self._stream = stream
        self._checkpoints = checkpoints
        self._key = key
        self._wanted = None if shards is None else frozenset(shards)
        self._shards: dict[str, _Shard] = {}

    def read(self, limit: int, wait_s: float) -> list[StreamEntry]:
        """See `EventSource`."""
        deadline = time.monotonic() + wait_s
        while True:
            with _kinesis_errors(self._stream):
                if not any(shard.iterator for shard in self._shards.values()):
                    self._find_shards()
                found: list[StreamEntry] = []
                for name, shard in self._shards.items():
                    if shard.iterator is not None and len(found) < limit:
                        found += self._read_shard(name, shard, limit - len(found))
            if found or time.monotonic() >= deadline:
                return found
            time.sleep(min(_POLL_S, max(0.0, deadline - time.monotonic())))

    def renew(self, ids: Sequence[str]) -> None:
        """Does nothing: nobody else reads the shards."""

    def acknowledge(self, ids: Sequence[str]) -> None:
        """See `EventSource`; a checkpoint is the last record before the first unacknowledged one."""
        changed: dict[str, str] = {}
        for id_ in ids:
            name, _, sequence = id_.rpartition(":")
            self._shards[name].done.add(sequence)
        for name, shard in self._shards.items():
            while shard.open and shard.open[0] in shard.done:
                changed[name] = shard.open.popleft()
                shard.done.discard(changed[name])
        if changed:
            with bulk_errors("the checkpoints of Kinesis"):
                self._checkpoints.hset(self._key, mapping=changed)

    def backlog(self) -> Backlog:
        """Records that were read and not acknowledged; of unread ones Kinesis only tells the age."""
        shards = self._shards.values()
        return Backlog(sum(len(shard.open) for shard in shards), max((shard.behind_s for shard in shards), default=0.0))

    def _find_shards(self) -> None:
        """Opens shards of this consumer that are not open yet, also those from resharding."""
        with bulk_errors("the checkpoints of Kinesis"):
            done: Mapping[bytes, bytes] = self._checkpoints.hgetall(self._key)
        pages = self._client.get_paginator("list_shards").paginate(StreamName=self._stream)
        for name in [shard["ShardId"] for page in pages for shard in page["Shards"]]:
            if name not in self._shards and (self._wanted is None or name in self._wanted):
                checkpoint = done.get(name.encode())
                self._shards[name] = _Shard(self._open(name, checkpoint.decode() if checkpoint else None))

    def _open(self, name: str, after: str | None) -> str:
        start: dict[str, str] = {"ShardIteratorType": "TRIM_HORIZON"}
        if after is not None:
            start = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": after}
        answer = self._client.get_shard_iterator(StreamName=self._stream, ShardId=name, **start)
        return str(answer["ShardIterator"])

    def _read_shard(self, name: str, shard: _Shard, limit: int) -> list[StreamEntry]:
        try:
            answer = self._client.get_records(ShardIterator=shard.iterator, Limit=min(limit, _MAX_RECORDS))
        except ClientError as error:
            if error.response["Error"]["Code"] != _EXPIRED:
                raise
            self._reopen(name, shard)
            return []
        shard.iterator = answer.get("NextShardIterator")
        shard.behind_s = answer.get("MillisBehindLatest", 0) / 1000
        entries = [_entry(name, record) for record in answer["Records"]]
        shard.open.extend(record["SequenceNumber"] for record in answer["Records"])
        return entries

    def _reopen(self, name: str, shard: _Shard) -> None:
        """Reopens a shard after the last record that was read, else after its checkpoint."""
        with bulk_errors("the checkpoints of Kinesis"):
            done: bytes | None = self._checkpoints.hget(self._key, name)
        last = shard.open[-1] if shard.open else done.decode() if done else None
        shard.iterator = self._open(name, last)


class KinesisSink:
    """Appends to a stream; entries of one key stay in order.

    Args:
        client: boto3's client of Kinesis.
        stream: name of the stream.
    """

    def __init__(self, client: KinesisClient, stream: str) -> None:
        self._client = client
        self._stream = stream

    def append(self, entries: Sequence[OutgoingEntry]) -> None:
        """See `EventSink`; notes are not kept."""
        records = [
            {"Data": entry.kind.encode() + _KIND_END + entry.body, "PartitionKey": entry.key or entry.kind}
            for entry in entries
        ]
        for start in range(0, len(records), _MAX_PUT):
            with _kinesis_errors(self._stream):
                answer = self._client.put_records(StreamName=self._stream, Records=records[start : start + _MAX_PUT])
            if answer["FailedRecordCount"]:
                raise StoreError(
                    f"Kinesis took all but {answer['FailedRecordCount']} of {len(answer['Records'])} records of "
                    f"{self._stream}; append them again, repeats are recognised by their event ids"
                )

    def remove(self, unwanted: Callable[[str, bytes], bool]) -> None:
        """Does nothing: Kinesis cannot remove records before its retention period ends."""


def _entry(shard: str, record: _Record) -> StreamEntry:
    kind, _, body = record["Data"].partition(_KIND_END)
    accepted_ms = round(1000 * record["ApproximateArrivalTimestamp"].timestamp())
    return StreamEntry(f"{shard}:{record['SequenceNumber']}", kind.decode(errors="replace"), body, accepted_ms)


@contextmanager
def _kinesis_errors(stream: str) -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise StoreError(f"Kinesis failed for the stream {stream}: {error}; check its name and our access") from error
