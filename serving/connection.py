"""The one connection of a process to the online stores."""

from __future__ import annotations

from dataclasses import dataclass

import redis.asyncio

from serving.stores.client import async_client
from serving.stores.config import StoreConfig


@dataclass(frozen=True)
class StoreConnection:
    """Where the stores are and the client that speaks to them.

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
