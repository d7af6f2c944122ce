"""Redis Streams as source and sink (Redis or Valkey 6.2 or newer)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, TypeAlias, TypeVar

import redis
from redis.typing import EncodableT

from contracts.errors import StoreError
from serving.interactions.streams import Backlog, OutgoingEntry, StreamEntry
from serving.stores.client import bulk_client, bulk_errors
from serving.stores.config import StoreConfig

NOTE_FIELD: Final = "note"
_FORGET_CONSUMER_AFTER_S: Final = 3_600
_CLAIMS_PER_PERIOD: Final = 4
_IDS_PER_COMMAND: Final = 500  # a long command, or
_PAUSE_S: Final = 0.005  # many in a row, would block other clients
_SUSPECTS: Final = 32
_NO_GROUP: Final = ("NOGROUP", "no such key")
_AnswerT = TypeVar("_AnswerT")
_Reply: TypeAlias = list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]
"""Streams with their entries: ids and fields."""


class RedisStreamSource:
    """One consumer of a group.

    Trims entries once every group has acknowledged them and all before them, so that the stream holds open work only.

    Args:
        config: the store's settings.
        address: redis:// or rediss:// address.
        stream: key of the stream.
        group: name of the group; created at the start of the stream if missing.
        consumer: name of this consumer, unique.
        claim_after_s: takes over entries of other consumers that have shown no sign of life for this long.
    """

    def __init__(
        self, config: StoreConfig, address: str, stream: str, group: str, consumer: str, *, claim_after_s: float
    ) -> None:
        self._address = address
        self._client = bulk_client(config, address)
        self._stream, self._group, self._consumer = stream, group, consumer
        self._claim_after_ms = int(1000 * claim_after_s)
        self._claim_period_s = claim_after_s / _CLAIMS_PER_PERIOD
        self._next_claim = 0.0

    def read(self, limit: int, wait_s: float) -> list[StreamEntry]:
        """See `EventSource`; `wait_s` must be below the store's `bulk_timeout_s`."""
        if time.monotonic() >= self._next_claim:
            claimed = self._ask(lambda: self._claim(limit))
            if claimed:  # the next call claims more
                return claimed
            self._next_claim = time.monotonic() + self._claim_period_s
        answer = self._ask(lambda: self._read(limit, wait_s))
        return [_entry(id_, fields, 1) for _, found in answer for id_, fields in found]

    def renew(self, ids: Sequence[str]) -> None:
        """See `EventSource`."""
        for some in _chunks(ids):
            self._ask(partial(self._client.xclaim, self._stream, self._group, self._consumer, 0, some, justid=True))

    def acknowledge(self, ids: Sequence[str]) -> None:
        """See `EventSource`."""
        for some in _chunks(ids):
            self._ask(partial(self._client.xack, self._stream, self._group, *some))
            time.sleep(_PAUSE_S)
        self._ask(self._trim)

    def backlog(self) -> Backlog:
        """See `EventSource`."""
        return self._ask(self._backlog)

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def _ask(self, call: Callable[[], _AnswerT]) -> _AnswerT:
        """Calls, after making the group if it is not there: at the first start, or after a loss of the store."""
        with bulk_errors(self._address):
            try:
                return call()
            except redis.ResponseError as error:
                if not str(error).startswith(_NO_GROUP):
                    raise
            self._make_group()
            return call()

    def _make_group(self) -> None:
        try:
            self._client.xgroup_create(self._stream, self._group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # another consumer created it first
                raise

    def _read(self, limit: int, wait_s: float) -> _Reply:
        block_ms = max(1, int(1000 * wait_s)) if wait_s > 0 else None
        wanted = {self._stream: ">"}
        reply: _Reply = self._client.xreadgroup(self._group, self._consumer, wanted, count=limit, block=block_ms)
        return reply

    def _claim(self, limit: int) -> list[StreamEntry]:
        """Claims entries of dead consumers; the more often they were delivered, the fewer at once."""
        idle_ms = self._claim_after_ms
        held = self._client.xpending_range(self._stream, self._group, "-", "+", limit, idle=idle_ms)
        if not held:
            self._forget_consumers()
            return []
        times = held[0]["times_delivered"]
        alike = [entry["message_id"] for entry in held if entry["times_delivered"] == times]
        together = alike[: limit if times == 1 else _SUSPECTS if times == 2 else 1]
        found = self._client.xclaim(self._stream, self._group, self._consumer, idle_ms, together)
        return [_entry(id_, fields, times + 1) for id_, fields in found if fields]

    def _forget_consumers(self) -> None:
        """Removes consumers that are long gone and hold no entries."""
        for consumer in self._client.xinfo_consumers(self._stream, self._group):
            if consumer["pending"] == 0 and consumer["idle"] > 1000 * _FORGET_CONSUMER_AFTER_S:
                self._client.xgroup_delconsumer(self._stream, self._group, consumer["name"])

    def _trim(self) -> None:
        """Removes the entries that every group has acknowledged.

        Entries that were delivered before the first look and are not pending at the second are acknowledged; later
        deliveries have higher ids.
        """
        groups = self._client.xinfo_groups(self._stream)
        bounds = []
        for group in groups:
            pending = self._client.xpending(self._stream, group["name"])
            bounds.append(_number(pending["min"]) if pending["pending"] else _next(group["last-delivered-id"]))
        if bounds:
            milliseconds, sequence = min(bounds)
            self._client.xtrim(self._stream, minid=f"{milliseconds}-{sequence}", approximate=False)

    def _backlog(self) -> Backlog:
        with self._client.pipeline(transaction=False) as pipe:  # a full Redis queues no command of a transaction
            pipe.xlen(self._stream)
            pipe.xrange(self._stream, count=1)
            pipe.time()
            entries, oldest, (seconds, microseconds) = pipe.execute()
        now_ms = 1000 * seconds + microseconds // 1000
        return Backlog(entries, max(0.0, (now_ms - _number(oldest[0][0])[0]) / 1000) if oldest else 0.0)


class RedisStreamSink:
    """Appends to a stream of bounded length.

    Args:
        config: the store's settings.
        address: redis:// or rediss:// address.
        stream: key of the stream.
        max_entries: keeps about this many, the newest; None = all, which the consumer trims.
    """

    def __init__(self, config: StoreConfig, address: str, stream: str, max_entries: int | None = None) -> None:
        self._address = address
        self._client = bulk_client(config, address)
        self._stream = stream
        self._max_entries = max_entries

    def append(self, entries: Sequence[OutgoingEntry]) -> None:
        """See `EventSink`."""
        with bulk_errors(self._address), self._client.pipeline(transaction=True) as pipe:
            for entry in entries:
                fields: dict[EncodableT, EncodableT] = {entry.kind: entry.body}
                if entry.note:
                    fields[NOTE_FIELD] = entry.note
                pipe.xadd(self._stream, fields, maxlen=self._max_entries)
            pipe.execute()

    def remove(self, unwanted: Callable[[str, bytes], bool]) -> None:
        """See `EventSink`."""
        after = b"-"
        with bulk_errors(self._address):
            while entries := self._client.xrange(self._stream, min=after, count=_IDS_PER_COMMAND):
                found = [_entry(id_, fields, 1) for id_, fields in entries]
                ids = [entry.id for entry in found if unwanted(entry.kind, entry.body)]
                if ids:
                    self._client.xdel(self._stream, *ids)
                after = b"(" + entries[-1][0]

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()


def _entry(id_: bytes, fields: dict[bytes, bytes], deliveries: int) -> StreamEntry:
    kind, body = next(iter(fields.items()))
    return StreamEntry(id_.decode(), kind.decode(errors="replace"), body, _number(id_)[0], deliveries)


def _chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), _IDS_PER_COMMAND):
        yield list(ids[start : start + _IDS_PER_COMMAND])


def _number(id_: bytes) -> tuple[int, int]:
    """Milliseconds and sequence of an entry's id."""
    milliseconds, _, sequence = id_.partition(b"-")
    if not milliseconds.isdigit():
        raise StoreError(f"an entry of the stream has the id {id_!r}, expected milliseconds-sequence")
    return int(milliseconds), int(sequence or 0)


def _next(id_: bytes) -> tuple[int, int]:
    milliseconds, sequence = _number(id_)
    return milliseconds, sequence + 1
