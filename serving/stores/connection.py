"""The one connection of a process to the online stores."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, suppress
from typing import NamedTuple

import redis
import redis.asyncio

from serving.stores.client import async_client, store_errors
from serving.stores.config import StoreConfig
from serving.stores.seen_backend import SeenBackend


class StoreConnection(NamedTuple):
    """Settings, address and client of the stores.

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

    def errors(self) -> AbstractAsyncContextManager[None]:
        """Turns errors of the client into a `StoreError` with the address."""
        return store_errors(self.config, self.address)

    async def check(self) -> None:
        """Checks that the server supports the settings; one that does not answer is checked when it is used.

        Raises:
            ConfigError: it does not support them.
        """
        with suppress(redis.RedisError):
            await SeenBackend(self.config, self.address).ask(self.client)
