"""Popular items of the last days: interactions of each shop-local day of the seen window, weighted by age."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import redis

from serving.stores.broken import readable
from serving.stores.client import bulk_errors
from serving.stores.config import StoreConfig
from serving.stores.keys import Keys


class PopularityStore:
    """Reads how often items were seen lately.

    Args:
        config: the store's settings.
        address: redis:// or rediss:// address, for messages.
        client: blocking connection, used in threads.
    """

    def __init__(self, config: StoreConfig, address: str, client: redis.Redis) -> None:
        self._config = config
        self._address = address
        self._client = client
        self._keys = Keys(config.shop)

    async def read(self, today: int) -> dict[str, float]:
        """Interactions by raw item id, halved every `popularity_half_life_days`; read in a thread, as they may be many.

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
            found = [readable("popular", reply, counts_of) for reply in pipe.execute(raise_on_error=False)]
        weights: dict[str, float] = {}
        for age, counts in zip(ages, found, strict=True):
            worth = 0.5 ** (age / self._config.popularity_half_life_days)
            for item_id, count in (counts or {}).items():
                weights[item_id] = weights.get(item_id, 0.0) + worth * count
        return weights


def broken_counts(client: redis.Redis, keys: Keys) -> list[bytes]:
    """Keys of popular items that cannot be read."""
    found = list(client.scan_iter(keys.popular("*")))
    with client.pipeline(transaction=False) as pipe:
        for key in found:
            pipe.hgetall(key)
        replies = pipe.execute(raise_on_error=False)
    return [key for key, reply in zip(found, replies, strict=True) if readable("popular", reply, counts_of) is None]


def counts_of(day: Mapping[bytes, bytes]) -> dict[str, int]:
    """Interactions by raw item id in the hash of a day.

    Raises:
        ValueError: the hash holds something else.
    """
    return {item.decode(): int(count) for item, count in day.items()}
