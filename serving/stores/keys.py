"""Every key of the online store: `{shop}:v3:…`. A changed layout gets a new version.

Feast's own keys end with its project, which is the shop.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from contracts.columns import USER_ID
from contracts.ids import user_subject

VERSION = "v3"
CONSUMERS: Final = "features"
"""Consumer group of the stream of interactions."""
ERASURES: Final = "embedded:erasures"
"""Counter in the embedded server: erasures in all its shops."""
REWRITTEN: Final = "embedded:rewritten"
"""String: the number of erasures whose data have left the embedded server's append-only file."""
_HASH_BYTES: Final = 16
_FEAST_STRING: Final = 2
"""Feast's number for the type of a raw id."""


@dataclass(frozen=True)
class Keys:
    """Key names of one shop; subjects as `contracts.ids` names them."""

    shop: str

    def recent(self, subject: str) -> str:
        """String: the last interactions, newest first; `serving.stores.recent`."""
        return f"{self.shop}:{VERSION}:recent:{subject}"

    def day(self, subject: str) -> str:
        """String: time and category of the last interactions, within 24 hours, newest first; as `recent`."""
        return f"{self.shop}:{VERSION}:day:{subject}"

    def seen(self, subject: str) -> str:
        """String: the ring of daily Bloom filters, layout in `contracts.bloom`."""
        return f"{self.shop}:{VERSION}:seen:{subject}"

    def seen_days(self, subject: str) -> str:
        """Sorted set: shop-local days for which the subject has a filter of RedisBloom, scored by themselves."""
        return f"{self.shop}:{VERSION}:seen_days:{subject}"

    def seen_on(self, subject: str, day: int | str) -> str:
        """Scalable Bloom filter of RedisBloom: what the subject saw on a shop-local day."""
        return f"{self.shop}:{VERSION}:seen_on:{subject}:{day}"

    def event(self, subject: str, event_id: str) -> str:
        """String: exists while an accepted event is remembered; its name is a hash, so that it shows no id."""
        named = f"{len(subject)}:{subject}:{event_id}".encode()  # the length separates subject and event id
        return f"{self._events}{hashlib.blake2b(named, digest_size=_HASH_BYTES).hexdigest()}"

    @property
    def all_events(self) -> str:
        """Pattern of the keys of all remembered events."""
        return f"{self._events}*"

    @property
    def _events(self) -> str:
        return f"{self.shop}:{VERSION}:event:"

    def popular(self, day: int | str) -> str:
        """Hash: interactions of a shop-local day that mark items as seen, by item."""
        return f"{self.shop}:{VERSION}:popular:{day}"

    def features(self, user_id: str) -> bytes:
        """Hash: Feast's row of a user, under the key that Feast gives it (its key serialization, version 3)."""
        name, value = USER_ID.encode(), user_id.encode()
        head = struct.pack(f"<III{len(name)}s", 1, _FEAST_STRING, len(name), name)
        return head + struct.pack(f"<II{len(value)}s", _FEAST_STRING, len(value), value) + self.shop.encode()

    def seen_keys(self, subject: str, days: Iterable[int]) -> list[str | bytes]:
        """Keys of a subject's seen items, in both backends.

        Args:
            subject: whose.
            days: its days with RedisBloom filters.
        """
        return [self.seen(subject), self.seen_days(subject), *(self.seen_on(subject, day) for day in days)]

    def user_keys(self, user_id: str, days: Iterable[int]) -> list[str | bytes]:
        """All keys of a user; `days` as in `seen_keys`."""
        subject = user_subject(user_id)
        return [self.recent(subject), self.day(subject), self.features(user_id), *self.seen_keys(subject, days)]

    @property
    def interactions(self) -> str:
        """Stream of accepted interactions in the order of acceptance; entries as in `contracts.interactions`."""
        return f"{self.shop}:{VERSION}:interactions"

    @property
    def dead_letters(self) -> str:
        """Stream of entries that consumers could not use, each with the reason."""
        return f"{self.shop}:{VERSION}:dead_letters"

    @property
    def erased(self) -> str:
        """Hash: erased users with the time (Unix seconds); checked before every write about a user."""
        return f"{self.shop}:{VERSION}:erased"

    @property
    def served(self) -> str:
        """Stream of the values that were written to the online store; an entry's id has the time."""
        return f"{self.shop}:{VERSION}:served"

    @property
    def meta(self) -> str:
        """String: what `materialize` wrote last."""
        return f"{self.shop}:{VERSION}:meta"
