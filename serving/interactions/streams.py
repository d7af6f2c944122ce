"""The streams as the consumer sees them, so that Kafka or Kinesis can replace Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class StreamEntry:
    """An entry that was delivered to a consumer.

    Attributes:
        id: unique in the stream, in its order.
        kind: name of its one field.
        body: value of its one field.
        accepted_ms: when it was appended, Unix milliseconds of the stream's clock.
        deliveries: number of its deliveries, with this one.
    """

    id: str
    kind: str
    body: bytes
    accepted_ms: int
    deliveries: int = 1


@dataclass(frozen=True)
class OutgoingEntry:
    """An entry to be appended.

    Attributes:
        kind: name of its field.
        body: value of its field.
        key: entries with the same key keep their order.
        note: additional text: the reason of a dead letter.
    """

    kind: str
    body: bytes
    key: str = ""
    note: str = ""


@dataclass(frozen=True)
class Backlog:
    """Entries that are not acknowledged yet.

    Attributes:
        entries: their number; an upper bound while entries are acknowledged out of order.
        lag_s: age of the oldest one; 0 = there is none.
    """

    entries: int
    lag_s: float


class EventSource(Protocol):
    """A stream for several consumers, each entry delivered to one of them at least once.

    Every call raises StoreError if the stream does not answer.
    """

    def read(self, limit: int, wait_s: float) -> list[StreamEntry]:
        """Entries that are new or whose consumer has died, in order; waits at most `wait_s` for the first one.

        Entries of dead consumers come separately, and from their fourth delivery one at a time, so that an entry that
        kills its consumers does not affect others.
        """
        ...

    def renew(self, ids: Sequence[str]) -> None:
        """Tells the stream that these entries are still in work."""
        ...

    def acknowledge(self, ids: Sequence[str]) -> None:
        """Tells the stream that these entries are done and may be forgotten."""
        ...

    def backlog(self) -> Backlog:
        """The entries that all consumers together have not acknowledged yet."""
        ...


class EventSink(Protocol):
    """A stream to append to."""

    def append(self, entries: Sequence[OutgoingEntry]) -> None:
        """Appends entries durably; raises StoreError if the stream does not take them."""
        ...

    def remove(self, unwanted: Callable[[str, bytes], bool]) -> None:
        """Removes entries by kind and body, if the stream can; raises StoreError if it does not answer."""
        ...


@dataclass(frozen=True)
class Streams:
    """The streams of a consumer.

    Attributes:
        events: accepted interactions.
        served: values that were written to the online store.
        dead_letters: takes entries that cannot be used.
    """

    events: EventSource
    served: EventSource
    dead_letters: EventSink
