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
    """Settings, address and client of the stores; every store class takes these three: `SeenStore(*connection)`.

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
        """Checks that the server supports the settings; one that does not answer is checked when it is used.

        Raises:
            ConfigError: it does not support them.
        """
        with suppress(redis.RedisError):
            await SeenBackend(self.config, self.address).ask(self.client)
