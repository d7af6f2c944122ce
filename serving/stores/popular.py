"""Popular items kept fresh: what was seen on each shop-local day of the seen window, weighted down by age."""

from __future__ import annotations

import asyncio

import redis

from serving.stores.client import bulk_errors
from serving.stores.config import StoreConfig
from serving.stores.keys import Keys


class PopularityStore:
    """Reads how often items were seen lately.

    Args:
        config: the store's settings.
        address: redis:// or rediss:// address, for messages.
        client: blocking connection; it is used in threads.
    """

    def __init__(self, config: StoreConfig, address: str, client: redis.Redis) -> None:
        self._config = config
        self._address = address
        self._client = client
        self._keys = Keys(config.shop)

    async def read(self, today: int) -> dict[str, float]:
        """Interactions by raw item id, halved every `popularity_half_life_days`; read in a thread, for it may be much.

        Args:
            today: the shop-local day on which the window ends.

        Raises:
            StoreError: the store does not answer in time.
        """
        return await asyncio.to_thread(self._read, today)

    def _read(self, today: int) -> dict[str, float]:
        ages = range(self._config.seen_window_days)
        with bulk_errors(self._address), self._client.pipeline(transaction=False) as pipe:
            for age in ages:
                pipe.hgetall(self._keys.popular(today - age))
            found = pipe.execute()
        weights: dict[str, float] = {}
        for age, counts in zip(ages, found, strict=True):
            worth = 0.5 ** (age / self._config.popularity_half_life_days)
            for item, count in counts.items():
                item_id = item.decode()
                weights[item_id] = weights.get(item_id, 0.0) + worth * int(count)
        return weights
