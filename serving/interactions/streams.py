"""What the consumer needs of a stream, so that Kafka or Kinesis can take the place of Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class StreamEntry:
    """An entry as it is handed to a consumer.

    Attributes:
        id: the stream's own; tells it from all others and orders them.
        kind: name of its one field.
        body: value of its one field.
        accepted_ms: when the stream took it, Unix milliseconds of the stream's clock.
        deliveries: how often it was handed to a consumer, this time included.
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
        key: entries of one key keep their order.
        note: said beside it: the reason of a dead letter.
    """

    kind: str
    body: bytes
    key: str = ""
    note: str = ""


@dataclass(frozen=True)
class Backlog:
    """What is not acknowledged yet.

    Attributes:
        entries: their number, an upper bound while entries are acknowledged out of order.
        lag_s: age of the oldest one, 0 when there is none.
    """

    entries: int
    lag_s: float


class EventSource(Protocol):
    """A stream as one of several consumers sees it: each entry comes to one of them, at least once.

    Every call raises StoreError when the stream does not answer.
    """

    def read(self, limit: int, wait_s: float) -> list[StreamEntry]:
        """Entries that nobody has read or whose reader is dead, in order; waits for the first one at most `wait_s`.

        Those of dead readers come by themselves, and one at a time before they are handed out for the fourth time: an
        entry that kills its readers takes no other one along.
        """
        ...

    def renew(self, ids: Sequence[str]) -> None:
        """A sign of life: these entries are still being worked on."""
        ...

    def acknowledge(self, ids: Sequence[str]) -> None:
        """These entries are done with; the stream may forget them."""
        ...

    def backlog(self) -> Backlog:
        """What all consumers together have not acknowledged yet."""
        ...


class EventSink(Protocol):
    """A stream as one sees it who appends to it."""

    def append(self, entries: Sequence[OutgoingEntry]) -> None:
        """Appends entries durably; raises StoreError when the stream does not take them."""
        ...

    def remove(self, unwanted: Callable[[str, bytes], bool]) -> None:
        """Removes entries, by kind and body, where the stream can; raises StoreError when it does not answer."""
        ...
