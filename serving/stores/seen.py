"""Seen items in Redis: a Bloom filter per subject and day (`contracts.bloom`, or RedisBloom in `seen_module`).

An interaction belongs to its own shop-local day and hides its item while that day is in the window, which ends today.
Keys expire (`StoreConfig.session_days`, `user_days`) only to make room.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import redis.asyncio

from contracts.bloom import RingLayout, Rings
from contracts.errors import StoreError
from contracts.seen import SeenFilters
from serving.stores.broken import read_strings, readable
from serving.stores.config import StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.keys import Keys
from serving.stores.seen_backend import SeenBackend
from serving.stores.seen_module import ModuleFilters, filed_days


def ring_layout(config: StoreConfig) -> RingLayout:
    """Sizes of the rings of a store."""
    return RingLayout(config.seen_error_rate, config.seen_window_days)


class SeenStore:
    """Reads what the subjects of a batch have seen, all in one round trip.

    Args:
        stores: the connection.
    """

    def __init__(self, stores: StoreConnection) -> None:
        self._stores = stores
        self._keys = Keys(stores.config.shop)
        self._layout = ring_layout(stores.config)
        self._backend = SeenBackend(stores.config, stores.address)

    async def read(self, subjects: Sequence[str | None], today: int) -> SeenFilters:
        """What B subjects saw in the window that ends today, a shop-local day; None has seen nothing.

        Raises:
            ConfigError: the settings want a backend that the server lacks.
            StoreError: the store does not answer in time.
        """
        async with self._stores.errors():
            if await self._backend.ask(self._stores.client) == "module":
                return await self._read_days(subjects, today)
            return await self._read_rings(subjects, today)

    async def _read_rings(self, subjects: Sequence[str | None], today: int) -> Rings:
        keys = [self._keys.seen(subject) for subject in subjects if subject is not None]
        values = iter(await read_strings(self._stores.client, keys))
        rings = [None if subject is None else next(values) for subject in subjects]
        try:
            return self._layout.open(rings, today)
        except StoreError:  # of some subjects; the others are still filtered
            opened = [readable("seen", ring, lambda one: self._layout.open([one], today)) for ring in rings]
            broken = frozenset(place for place, ring in enumerate(opened) if ring is None)
            left = [None if place in broken else ring for place, ring in enumerate(rings)]
            return replace(self._layout.open(left, today), unreadable=broken)

    async def _read_days(self, subjects: Sequence[str | None], today: int) -> ModuleFilters:
        known = [subject for subject in subjects if subject is not None]
        found = []
        if known:
            async with self._stores.client.pipeline(transaction=False) as pipe:
                for subject in known:
                    oldest = today - self._stores.config.seen_window_days + 1
                    pipe.zrangebyscore(self._keys.seen_days(subject), oldest, today)
                found = await pipe.execute(raise_on_error=False)
        replies = iter(found)
        days = [[] if subject is None else readable("seen", next(replies), filed_days) for subject in subjects]
        both = zip(subjects, days, strict=True)
        keys = [[self._keys.seen_on(subject or "", day) for day in filed or ()] for subject, filed in both]
        broken = frozenset(place for place, filed in enumerate(days) if filed is None)
        return ModuleFilters(keys, self._pipeline, broken)

    @asynccontextmanager
    async def _pipeline(self) -> AsyncIterator[redis.asyncio.client.Pipeline]:
        async with self._stores.errors(), self._stores.client.pipeline(transaction=False) as pipe:
            yield pipe
