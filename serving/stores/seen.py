"""Seen items in Redis: a ring of daily Bloom filters a subject (`contracts.bloom`).

An interaction is filed under its own shop-local day. It hides its item while that day is one of the window's, which
ends today. Keys expire (`StoreConfig.session_days`, `user_days`) to make room; what is seen depends on days alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import redis.asyncio

from contracts.bloom import RingLayout, Rings
from serving.stores.client import store_errors
from serving.stores.config import StoreConfig
from serving.stores.keys import Keys


def ring_layout(config: StoreConfig) -> RingLayout:
    """Sizes of the rings of a store."""
    return RingLayout(config.seen_error_rate, config.seen_window_days)


class SeenStore:
    """Reads the seen rings of all subjects of a batch in one round trip.

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
