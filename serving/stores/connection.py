"""The one connection of a process to the online stores."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

import redis
import redis.asyncio

from serving.stores.client import async_client
from serving.stores.config import StoreConfig
from serving.stores.seen_backend import SeenBackend


class StoreConnection(NamedTuple):
    """Where the stores are and the client that speaks to them; every store takes just this: `SeenStore(*connection)`.

    Attributes:
        config: settings.
        address: redis:// or rediss:// address.
        client: of the running event loop; connects when first used.
    """

    config: StoreConfig
    address: str
    client: redis.asyncio.Redis

    @classmethod
    def open(cls, config: StoreConfig, address: str) -> StoreConnection:
        """A connection to an address."""
        return cls(config, address, async_client(config, address))

    async def check(self) -> None:
        """Finds out whether the server can what the settings want; one that does not answer is asked when it is used.

        Raises:
            ConfigError: it cannot.
        """
        with suppress(redis.RedisError):
            await SeenBackend(self.config, self.address).ask(self.client)
