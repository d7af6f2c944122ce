"""The data of one user in the online store: reads it, flushes seen items, erases it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import redis
import redis.asyncio

from contracts.bloom_edit import RingEditor
from contracts.errors import StoreError
from contracts.ids import user_subject
from contracts.interactions import ERASURE_FIELD, Erasure, encode_erasure
from contracts.user_records import RecentItems
from serving.stores.broken import KeyKind, readable
from serving.stores.client import is_socket
from serving.stores.connection import StoreConnection
from serving.stores.keys import ERASURES, Keys
from serving.stores.recent import decode
from serving.stores.seen import ring_layout
from serving.stores.seen_module import filed_days

_MAX_ATTEMPTS: Final = 10
_SCANNED: Final = 1000


@dataclass(frozen=True)
class UserState:
    """Stored interactions of a user.

    Attributes:
        recent: recent items.
        day: categories of the 24 hours that end at the last interaction.
        seen: number of items in the seen filters by shop-local day; filters cannot list them.
        erased_at: Unix seconds of the erasure; 0 = cannot be read, None = never erased.
        unreadable: kinds of keys that cannot be read.
    """

    recent: RecentItems
    day: RecentItems
    seen: dict[int, int]
    erased_at: int | None
    unreadable: tuple[KeyKind, ...] = ()


class UserDataStore:
    """Reads and removes the data of a user, with the seen items of both backends.

    Args:
        stores: the connection.
    """

    def __init__(self, stores: StoreConnection) -> None:
        self._stores = stores
        self._keys = Keys(stores.config.shop)
        self._rings = RingEditor(ring_layout(stores.config))

    async def read(self, user_id: str) -> UserState:
        """Everything except Feast's row.

        Raises:
            StoreError: the store does not answer in time.
        """
        subject, keys = user_subject(user_id), self._keys
        async with self._stores.errors(), self._stores.client.pipeline(transaction=True) as pipe:
            pipe.get(keys.recent(subject)).get(keys.day(subject)).get(keys.seen(subject))
            pipe.zrange(keys.seen_days(subject), 0, -1).hget(keys.erased, user_id)
            replies = await pipe.execute(raise_on_error=False)
            items, day = readable("recent_items", replies[0], decode), readable("categories", replies[1], decode)
            rings = readable("seen", replies[2], self._rings.num_items)
            days = readable("seen", replies[3], filed_days)
            erased_at = readable("erased", replies[4], lambda stamp: () if stamp is None else (int(stamp),))
            for one in days or ():
                pipe.execute_command("BF.CARD", keys.seen_on(subject, one))
            counts = [readable("seen", reply, int) for reply in await pipe.execute(raise_on_error=False)]
        parts: list[tuple[KeyKind, object]] = [("recent_items", items), ("categories", day), ("erased", erased_at)]
        parts += [("seen", None if None in (rings, days, *counts) else counts)]
        return UserState(
            items or RecentItems(),
            day or RecentItems(),
            (rings or {}) | {one: count for one, count in zip(days or (), counts, strict=True) if count},
            0 if erased_at is None else next(iter(erased_at), None),
            tuple(kind for kind, part in parts if part is None),
        )

    async def flush_seen(self, user_id: str) -> bool:
        """Empties the seen filters, so that everything may be recommended again; False if there were none.

        Raises:
            StoreError: the store does not answer in time or refuses the write.
        """
        subject = user_subject(user_id)
        return await self._remove(subject, partial(self._keys.seen_keys, subject), lambda pipe: None) > 0

    async def erase(self, user_id: str, now: int) -> None:
        """Removes a user in one atomic step, for good: later events with this id are refused.

        The erasure goes into the stream, and consumers record a tombstone for jobs that read tables.

        Args:
            user_id: known or not.
            now: the clock's now, Unix seconds.

        Raises:
            StoreError: the store does not answer in time or refuses the write; nothing is removed.
        """
        keys = self._keys

        def note(pipe: redis.asyncio.client.Pipeline) -> None:
            pipe.hset(keys.erased, user_id, now)
            pipe.xadd(keys.interactions, {ERASURE_FIELD: encode_erasure(Erasure(user_id=user_id, erased_at=now))})
            if is_socket(self._stores.address):
                pipe.incr(ERASURES)

        async with self._stores.errors():
            await self._stores.client.hexists(keys.erased, user_id)  # fails early if the erasure could not be noted
        await self._remove(user_subject(user_id), partial(keys.user_keys, user_id), note)

    async def _remove(
        self,
        subject: str,
        keys_of: Callable[[Iterable[int]], list[str | bytes]],
        also: Callable[[redis.asyncio.client.Pipeline], None],
    ) -> int:
        """Removes keys of a subject in one atomic step; returns how many there were.

        Args:
            subject: whose.
            keys_of: makes the keys from the days for which the subject has RedisBloom filters.
            also: adds commands to the step.
        """
        days = self._keys.seen_days(subject)
        async with self._stores.errors(), self._stores.client.pipeline(transaction=True) as pipe:
            for _ in range(_MAX_ATTEMPTS):
                await pipe.watch(days)
                filed = await self._filed(pipe, subject)
                pipe.multi()
                pipe.delete(*keys_of(filed))
                also(pipe)
                try:
                    return int((await pipe.execute())[0])
                except redis.WatchError:
                    continue
        raise StoreError(f"others changed the same user {_MAX_ATTEMPTS} times in a row; try again")

    async def _filed(self, pipe: redis.asyncio.client.Pipeline, subject: str) -> Iterable[int]:
        """Days for which a subject has filters; scans all keys if its own list cannot be read."""
        with suppress(redis.ResponseError, ValueError):
            return filed_days(await pipe.zrange(self._keys.seen_days(subject), 0, -1))
        prefix = self._keys.seen_on(subject, "")
        found = [key.decode() async for key in self._stores.client.scan_iter(self._keys.seen_on("*", "*"), _SCANNED)]
        days = [key.removeprefix(prefix) for key in found if key.startswith(prefix)]
        return [int(day) for day in days if day.isdigit()]
