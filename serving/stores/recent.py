"""Lists of timed raw strings per subject, newest first: recent items, and the categories of the last 24 hours.

An entry is the Unix seconds of the interaction (8 bytes, little-endian, signed) and the raw string (UTF-8).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import redis.asyncio

from serving.stores.client import store_errors
from serving.stores.config import StoreConfig
from serving.stores.keys import Keys

_TIME = struct.Struct("<q")


@dataclass(frozen=True)
class RecentItems:
    """A subject's last interactions, newest first, repeats kept.

    Attributes:
        item_ids: raw ids.
        timestamps: Unix seconds, one an item.
    """

    item_ids: tuple[str, ...] = ()
    timestamps: tuple[int, ...] = ()


class RecentItemStore:
    """Reads recent items of all subjects of a batch in one round trip.

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

    async def read(self, subjects: Sequence[str]) -> list[RecentItems]:
        """Recent items of each subject; empty for one that the store does not know.

        Raises:
            StoreError: the store does not answer in time.
        """
        if not subjects:
            return []
        async with store_errors(self._config, self._address), self._client.pipeline(transaction=False) as pipe:
            for subject in subjects:
                pipe.lrange(self._keys.recent(subject), 0, self._config.history_length - 1)
            return [decode(entries) for entries in await pipe.execute()]


def encode(timestamp: int, text: str) -> bytes:
    """One entry of a list."""
    return _TIME.pack(timestamp) + text.encode()


def decode(entries: Iterable[bytes]) -> RecentItems:
    """The entries of one list."""
    pairs = [(entry[_TIME.size :].decode(), _TIME.unpack_from(entry)[0]) for entry in entries]
    return RecentItems(*zip(*pairs, strict=True)) if pairs else RecentItems()
