"""Seen items in Redis: a ring of daily Bloom filters a subject (`contracts.bloom`).

An interaction is filed under its own shop-local day. It hides its item while that day is one of the window's, which
ends today; there are no key lifetimes, so that nothing depends on when it was written.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import redis
import redis.asyncio

from contracts.bloom import RingLayout, Rings, item_hashes
from contracts.errors import StoreError
from contracts.ids import LongArray
from serving.stores.client import store_errors
from serving.stores.config import StoreConfig
from serving.stores.keys import Keys

_MAX_ATTEMPTS = 10


def ring_layout(config: StoreConfig) -> RingLayout:
    """Sizes of the rings of a store."""
    return RingLayout(config.seen_error_rate, config.seen_window_days)


class SeenStore:
    """Reads and writes the seen rings of all subjects of a batch in one round trip.

    Args:
        config: the store's settings.
        address: redis:// or rediss:// address, for messages.
        client: connection of this event loop.
    """

    def __init__(self, config: StoreConfig, address: str, client: redis.asyncio.Redis) -> None:
        self._config = config
        self._address = address
        self._client = client
        self._keys = Keys(config.shop)
        self._layout = ring_layout(config)

    async def read(self, subjects: Sequence[str | None], today: int) -> Rings:
        """Rings of B subjects for the window that ends today, a shop-local day; None has seen nothing.

        Raises:
            StoreError: the store does not answer in time, or a ring has another layout.
        """
        keys = [self._keys.seen(subject) for subject in subjects if subject is not None]
        found: list[bytes | None] = []
        if keys:
            async with store_errors(self._config, self._address):
                found = await self._client.mget(keys)
        values = iter(found)
        return self._layout.open([None if subject is None else next(values) for subject in subjects], today)

    async def add(self, subjects: Sequence[str], item_ids: Sequence[str], days: LongArray, today: int) -> None:
        """Files n interactions, all or none; those of days outside the window that ends today are left out.

        Args:
            subjects: whose ring, n.
            item_ids: raw ids, n.
            days: shop-local days, [n].
            today: the shop-local day of the clock's now.

        Raises:
            StoreError: the store does not answer in time, or others keep writing the same rings.
        """
        inside = np.flatnonzero((days > today - self._config.seen_window_days) & (days <= today))
        if len(inside) == 0:
            return
        rows_of: dict[str, list[int]] = {}
        for row in inside.tolist():
            rows_of.setdefault(self._keys.seen(subjects[row]), []).append(row)
        hashes = item_hashes(item_ids)
        async with store_errors(self._config, self._address):
            for _ in range(_MAX_ATTEMPTS):
                if await self._try_add(rows_of, hashes, days):
                    return
        raise StoreError(f"{len(rows_of)} seen rings were changed by others {_MAX_ATTEMPTS} times in a row; try again")

    async def _try_add(self, rows_of: dict[str, list[int]], hashes: np.ndarray, days: LongArray) -> bool:
        async with self._client.pipeline(transaction=True) as pipe:
            await pipe.watch(*rows_of)
            rings = await pipe.mget(list(rows_of))
            pipe.multi()
            for (key, rows), ring in zip(rows_of.items(), rings, strict=True):
                pipe.set(key, self._layout.add(ring, hashes[rows], days[rows]))
            try:
                await pipe.execute()
            except redis.WatchError:
                return False
        return True
