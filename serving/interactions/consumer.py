"""The consumer of interactions: updates features at once, writes records a little later, then acknowledges.

`_take` handles a batch: it refreshes the features of users, keeps events for `_flush`, and turns entries that cannot be
read into dead letters. `_flush` writes the events to Parquet and acknowledges them. If a consumer dies, another one
gets the entries that it has not acknowledged. Handling them twice is harmless: features are computed from the store,
and repeated records have the same ids. Entries that are delivered again are flushed at once, so that an entry that
kills its consumers is found and does not affect others.

If a store or disk fails, the consumer tries again until it works; meanwhile it acknowledges nothing and renews its
claim on the entries. A full store is the exception: it gets room only when entries are acknowledged, so the consumer
remembers the users whose features it could not write, and refreshes them later. Other errors are caused by an entry:
the consumer halves the batch until it has found that entry, and goes on with the others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from msgspec import json

from contracts.errors import DataError, StoreError, StoreFullError
from contracts.interactions import ERASURE_FIELD, STREAM_FIELD, Erasure, Interaction, decode, decode_erasure
from serving.interactions.config import ConsumerConfig
from serving.interactions.meter import ConsumerMeter
from serving.interactions.records import RecordWriter, check_timestamp
from serving.interactions.streams import OutgoingEntry, StreamEntry, Streams
from serving.stores.top_category import TopCategoryStore, decode_served
from serving.watching.rate_limited import RateLimitedLogger

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 5.0
_POLL_S: Final = 0.5
_STALE_PAUSE_S: Final = 1.0
_EVENT_KIND: Final = STREAM_FIELD.decode()
_ERASURE_KIND: Final = ERASURE_FIELD.decode()
_AnswerT = TypeVar("_AnswerT")
_ContentT = TypeVar("_ContentT")


class StoppedError(Exception):
    """The consumer was asked to stop while it waited for a store."""


@dataclass
class _Taken:
    """Entries that are not acknowledged yet."""

    since: float = field(default_factory=time.monotonic)
    ids: list[str] = field(default_factory=list)
    events: list[tuple[StreamEntry, Interaction]] = field(default_factory=list)
    erasures: list[tuple[StreamEntry, Erasure]] = field(default_factory=list)


class FeatureConsumer:
    """Reads the stream until it is stopped; one thread, no Ray.

    Args:
        streams: the streams that it reads and writes.
        features: refreshes features of users.
        records: writes records for training.
        config: settings.
        meter: counts entries and failures.
    """

    def __init__(
        self,
        streams: Streams,
        features: TopCategoryStore,
        records: RecordWriter,
        config: ConsumerConfig,
        meter: ConsumerMeter,
    ) -> None:
        self._events, self._served, self._dead_letters = streams.events, streams.served, streams.dead_letters
        self._features = features
        self._records = records
        self._config = config
        self._meter = meter
        self._taken = _Taken()
        self._stale: set[str] = set()
        self._stale_again_at = 0.0
        self._stop = threading.Event()
        self._alive_at = time.monotonic()
        self._warn = RateLimitedLogger(logger)

    def run(self) -> None:
        """Works until `stop`, then writes what it has taken, if the stores work."""
        try:
            while not self._stop.is_set():
                self.step(_POLL_S)
            self._flush()
            if self._stale:
                self._catch_up()
        except StoppedError:
            logger.warning("stopped; %d unacknowledged entries will be delivered again", len(self._taken.ids))

    def stop(self) -> None:
        """Ends `run` after the current batch."""
        self._stop.set()

    def check(self) -> None:
        """Raises RuntimeError if there was no sign of life for `stuck_after_s`."""
        quiet_s = time.monotonic() - self._alive_at
        if quiet_s > self._config.stuck_after_s:
            raise RuntimeError(
                f"the consumer has shown no sign of life for {quiet_s:.0f} s, more than "
                f"stuck_after_s={self._config.stuck_after_s:g}; it is restarted"
            )

    def step(self, wait_s: float) -> int:
        """Takes a batch, for which it waits at most `wait_s`, and flushes if it is time.

        Returns:
            The number of entries in the batch.

        Raises:
            StoppedError: a store failed until the consumer was stopped.
        """
        flush_at = self._taken.since + self._config.flush_interval_s
        if self._taken.ids:
            wait_s = min(wait_s, max(0.0, flush_at - time.monotonic()))
        entries = self._until_done(lambda: self._events.read(self._config.batch_size, wait_s), "reading the stream")
        if self._stale and time.monotonic() >= self._stale_again_at:
            self._catch_up()
        again = any(entry.deliveries > 1 for entry in entries)
        if again and self._taken.ids:  # so that earlier entries are not affected
            self._flush()
        if entries:
            self._take(entries)
            self._stop.wait(self._config.gather_ms / 1000)
        if again or len(self._taken.ids) >= self._config.flush_rows or time.monotonic() >= flush_at:
            self._flush()
        self._meter.report()
        return len(entries)

    def _take(self, entries: Sequence[StreamEntry]) -> None:
        """Refreshes the users of a batch and keeps its events for the next flush."""
        self._taken.ids += [entry.id for entry in entries]
        events = []
        for entry in entries:
            try:
                content = self._read(entry)
            except DataError as error:
                self._bury(entry, error.message)
                continue
            if isinstance(content, Interaction):
                events.append((entry, content))
            else:
                self._taken.erasures.append((entry, content))
        self._isolated(self._refresh, events)
        self._taken.events += events

    def _read(self, entry: StreamEntry) -> Interaction | Erasure:
        if entry.deliveries > self._config.max_deliveries:
            raise DataError(
                f"handed out {entry.deliveries} times and never acknowledged, more than "
                f"max_deliveries={self._config.max_deliveries}"
            )
        if entry.kind == _ERASURE_KIND:
            return decode_erasure(entry.body)
        if entry.kind != _EVENT_KIND:
            raise DataError(f"an entry of kind {entry.kind!r}; expected {_EVENT_KIND!r} or {_ERASURE_KIND!r}")
        interaction = decode(entry.body)
        check_timestamp(interaction.timestamp)
        return interaction

    def _refresh(self, events: Sequence[tuple[StreamEntry, Interaction]]) -> None:
        users = [event.user_id for _, event in events if event.user_id]
        try:
            failed = self._features.refresh(users)
        except StoreFullError as error:
            self._postpone(users, error)
            return
        for entry, event in events:
            if event.user_id in failed:
                self._bury(entry, f"recorded, but without a feature: {failed[event.user_id]}")
        self._meter.features(entry.accepted_ms for entry, _ in events)

    def _postpone(self, users: Sequence[str], error: StoreError) -> None:
        """Remembers users whose feature could not be written."""
        self._stale.update(users)
        self._stale_again_at = time.monotonic() + _STALE_PAUSE_S
        self._warn.warning("writing features", error)
        self._meter.failure()
        self._meter.stale_users(len(self._stale))

    def _catch_up(self) -> None:
        """Refreshes the remembered users."""
        users = list(self._stale)
        try:
            failed = self._features.refresh(users)
        except StoreError as error:
            self._postpone(users, error)
            return
        for user, reason in failed.items():
            logger.warning("user %s has no feature: %s", user, reason)
        self._stale.clear()
        self._meter.stale_users(0)

    def _flush(self) -> None:
        """Writes and acknowledges the entries that were taken, then served values."""
        taken = self._taken
        self._isolated(
            lambda some: self._records.interactions([(event, entry.accepted_ms) for entry, event in some]), taken.events
        )
        self._isolated(lambda some: self._records.tombstones([erasure for _, erasure in some]), taken.erasures)
        if taken.erasures:
            erased = {erasure.user_id for _, erasure in taken.erasures}
            self._until_done(lambda: self._dead_letters.remove(partial(_tells_of, erased)), "removing dead letters")
        if taken.ids:
            self._until_done(lambda: self._events.acknowledge(taken.ids), "acknowledging events")
        self._meter.recorded(len(taken.events))
        self._taken = _Taken()
        while self._flush_served():
            pass
        self._meter.backlog(self._until_done(self._events.backlog, "measuring the backlog"))

    def _flush_served(self) -> bool:
        """Writes and acknowledges some served values; False if there were none."""
        entries: list[StreamEntry] = []
        while len(entries) < self._config.flush_rows:
            some = self._until_done(lambda: self._served.read(self._config.batch_size, 0), "reading served values")
            if not some:
                break
            entries += some
            self._stop.wait(self._config.gather_ms / 1000)
        values = []
        for entry in entries:
            try:
                values.append((entry, decode_served(entry.body)))
            except DataError as error:
                self._bury(entry, error.message)
        self._isolated(lambda some: self._records.served([(value, entry.accepted_ms) for entry, value in some]), values)
        if entries:
            ids = [entry.id for entry in entries]
            self._until_done(lambda: self._served.acknowledge(ids), "acknowledging served values")
        return bool(entries)

    def _bury(self, entry: StreamEntry, reason: str) -> None:
        letter = OutgoingEntry(entry.kind, entry.body, entry.id, f"{entry.id}: {reason}")
        self._until_done(lambda: self._dead_letters.append([letter]), "writing a dead letter")
        self._meter.dead_letters(1)
        logger.warning("entry %s is a dead letter: %s", entry.id, reason)

    def _isolated(
        self,
        work: Callable[[Sequence[tuple[StreamEntry, _ContentT]]], None],
        items: Sequence[tuple[StreamEntry, _ContentT]],
    ) -> None:
        """Does work that may be repeated; an entry that makes it fail becomes a dead letter."""
        if not items:
            return
        try:
            self._until_done(lambda: work(items), "the consumer's work")
        except StoppedError:
            raise
        except Exception as error:
            if len(items) == 1:
                logger.exception("entry %s cannot be used", items[0][0].id)
                self._bury(items[0][0], repr(error))
                return
            half = len(items) // 2
            self._isolated(work, items[:half])
            self._isolated(work, items[half:])

    def _until_done(self, call: Callable[[], _AnswerT], what: str) -> _AnswerT:
        """Repeats a call, with growing pauses, until the store or disk works; returns its answer."""
        pause_s = _FIRST_PAUSE_S
        while True:
            self._alive_at = time.monotonic()
            try:
                return call()
            except (StoreError, OSError) as error:
                self._warn.warning(what, error)
                self._meter.failure()
                self._meter.report()
            if self._stop.wait(pause_s):
                raise StoppedError
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            with suppress(StoreError):
                self._events.renew(self._taken.ids)


def _tells_of(users: Set[str], kind: str, body: bytes) -> bool:
    """Whether an entry concerns one of these users or, if it cannot be decoded, contains one of their ids."""
    with suppress(DataError):
        if kind == _EVENT_KIND:
            return decode(body).user_id in users
    return any(json.encode(user) in body for user in users)
