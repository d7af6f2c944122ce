"""Merges values of tables with newer online values when the stores are filled.

Tables and the accepted events that were added to them count up to the end of the tables' last day, online values
after it. An online value that cannot be read, or has another layout, is replaced by that of the tables.
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
"""Merges the value of the tables with the online one; None = no value."""


@dataclass(frozen=True)
class TablesEnd:
    """The time up to which tables are complete.

    Attributes:
        last_day: their last shop-local day.
        end: its end, Unix seconds.
    """

    last_day: int
    end: int

    def at_most(self, now: int, calendar: ShopCalendar) -> TablesEnd:
        """This end, but not after now: tables cannot hold what has not happened yet."""
        return self if self.end <= now else TablesEnd(int(calendar.day(np.array(now))), now)


class Merge:
    """Merges values of each kind.

    Args:
        config: the store's settings.
        tables_end: the time up to which the tables are complete.
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
        except StoreError:  # the online ring has another window or error rate
            return table
        return ring if self._rings.num_items(ring) else None

    def newer(self, known: RecentItems, online: bytes | None) -> RecentItems:
        """Online items that are newer than the tables and not known yet."""
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
        value: of the tables; None = none.
        merge: merges it with the online value.
        lifetime_s: seconds until the key expires; None = its expiry stays.
        prolongs: whether `lifetime_s` holds for an existing key, too; else its expiry stays.
    """

    key: bytes
    value: bytes | None
    merge: MergeValue
    lifetime_s: int | None = None
    prolongs: bool = True


def rewrite(client: redis.Redis, changes: Sequence[Change]) -> list[bytes | None]:
    """Sets keys to merged values in one atomic step and removes keys without a value.

    Returns:
        The written values.

    Raises:
        StoreError: others keep changing the same keys.
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
