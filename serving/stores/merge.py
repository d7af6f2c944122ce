"""What stays of the online state when the stores are filled from tables: whatever is newer than the tables.

Tables, and the accepted events that were joined to them, are the truth up to the end of the tables' last day; the
online store is it afterwards. A value that cannot be read, or is of another layout, gives way to the tables'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import redis

from contracts.bloom_edit import RingEditor
from contracts.clock import DAY_S, ShopCalendar
from contracts.errors import StoreError
from contracts.user_records import RecentItems
from serving.stores import recent
from serving.stores.config import StoreConfig
from serving.stores.seen import ring_layout

_MAX_ATTEMPTS: Final = 20
MergeValue = Callable[[bytes | None, bytes | None], bytes | None]
"""Takes the value of the tables and the one that is online; None = there is none, or none is left."""


@dataclass(frozen=True)
class TablesEnd:
    """Up to when tables hold everything.

    Attributes:
        last_day: their last shop-local day.
        end: Unix seconds at which it ended.
    """

    last_day: int
    end: int

    def at_most(self, now: int, calendar: ShopCalendar) -> TablesEnd:
        """The same, or now where it would be in the future: nobody has told what is yet to happen."""
        return self if self.end <= now else TablesEnd(int(calendar.day(np.array(now))), now)


class Merge:
    """Merges values of each kind.

    Args:
        config: the store's settings.
        tables_end: up to when the tables hold everything.
    """

    def __init__(self, config: StoreConfig, tables_end: TablesEnd) -> None:
        self._config = config
        self._tables_end = tables_end
        self._rings = RingEditor(ring_layout(config))

    def recent(self, table: bytes | None, online: bytes | None) -> bytes | None:
        """Recent items."""
        known = recent.decode(table)
        items = known.with_newer(
            *_oldest_first(self.newer(known, online)),
            max_age_s=self._config.history_days * DAY_S,
            length=self._config.history_length,
        )
        return recent.encode(items) if items.timestamps else None

    def day(self, table: bytes | None, online: bytes | None) -> bytes | None:
        """Categories of the last interactions."""
        known = recent.decode(table)
        items = recent.with_newer_categories(known, *_oldest_first(self.newer(known, online)))
        return recent.encode(items) if items.timestamps else None

    def seen(self, table: bytes | None, online: bytes | None) -> bytes | None:
        """Seen rings, day by day."""
        try:
            ring = self._rings.newer_days(table, online, self._tables_end.last_day)
        except StoreError:  # online: the window or the error rate was changed since
            return table
        return ring if self._rings.num_items(ring) else None

    def newer(self, known: RecentItems, online: bytes | None) -> RecentItems:
        """What is online, newer than the tables, and not known yet."""
        left = Counter(known)
        kept = []
        with suppress(StoreError):
            for text, time in recent.decode(online):
                left[text, time] -= 1
                if time >= self._tables_end.end and left[text, time] < 0:
                    kept.append((text, time))
        return RecentItems(tuple(text for text, _ in kept), tuple(time for _, time in kept))


class Change(NamedTuple):
    """A key to be set.

    Attributes:
        key: its name.
        value: of the tables, None = they have none.
        merge: takes what is online into account.
        lifetime_s: seconds until it expires; None = as it does now.
        prolongs: whether that is so of a key that is online, too; else it expires as it does now.
    """

    key: bytes
    value: bytes | None
    merge: MergeValue
    lifetime_s: int | None = None
    prolongs: bool = True


def rewrite(client: redis.Redis, changes: Sequence[Change]) -> list[bytes | None]:
    """Sets keys to merged values in one atomic step; keys that are left without a value go.

    Returns:
        What was written.

    Raises:
        StoreError: others keep writing the same keys.
    """
    keys = [change.key for change in changes]
    with client.pipeline(transaction=True) as pipe:
        for _ in range(_MAX_ATTEMPTS):
            pipe.watch(*keys)
            found = pipe.mget(keys)
            merged = [change.merge(change.value, online) for change, online in zip(changes, found, strict=True)]
            pipe.multi()
            for change, online, value in zip(changes, found, merged, strict=True):
                if value is None:
                    pipe.unlink(change.key)
                    continue
                lifetime_s = change.lifetime_s if change.prolongs or online is None else None
                pipe.set(change.key, value, ex=lifetime_s, keepttl=lifetime_s is None)
            try:
                pipe.execute()
            except redis.WatchError:
                continue
            return merged
    raise StoreError(f"{len(keys)} keys were changed by others {_MAX_ATTEMPTS} times in a row; try again")


def _oldest_first(items: RecentItems) -> tuple[tuple[str, ...], tuple[int, ...]]:
    return items.item_ids[::-1], items.timestamps[::-1]
