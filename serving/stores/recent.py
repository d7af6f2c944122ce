"""Timed raw strings per subject, newest first: recent items, and the categories that `top_category` is made of.

A value is a MessagePack array of two arrays of equal length: the strings and their Unix seconds. A subject has one
value, so that one command reads a whole batch and one atomic step replaces it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from contracts.errors import StoreError
from contracts.features import TOP_CATEGORY_EVENTS, TOP_CATEGORY_WINDOW_S, top_category
from contracts.ids import IntArray
from contracts.user_records import RecentItems
from serving.stores.broken import KeyKind, read_strings, readable
from serving.stores.connection import StoreConnection
from serving.stores.keys import Keys


class RecentItemStore:
    """Reads recent items of all subjects of a batch in one round trip.

    Args:
        stores: the connection.
    """

    def __init__(self, stores: StoreConnection) -> None:
        self._stores = stores
        self._keys = Keys(stores.config.shop)

    async def read(self, subjects: Sequence[str]) -> list[RecentItems | None]:
        """Recent items of each subject; empty if the store does not know it, None if they cannot be read.

        Raises:
            StoreError: the store does not answer in time.
        """
        return await self._read("recent_items", [self._keys.recent(subject) for subject in subjects])

    async def read_day(self, subjects: Sequence[str]) -> list[RecentItems | None]:
        """Categories of each subject's last 24 hours; as `read`."""
        return await self._read("categories", [self._keys.day(subject) for subject in subjects])

    async def _read(self, kind: KeyKind, keys: list[str]) -> list[RecentItems | None]:
        async with self._stores.errors():
            return [readable(kind, value, decode) for value in await read_strings(self._stores.client, keys)]


def with_newer_categories(day: RecentItems, categories: Sequence[str], timestamps: Sequence[int]) -> RecentItems:
    """The categories of the last 24 hours after more interactions; as `RecentItems.with_newer`."""
    return day.with_newer(categories, timestamps, max_age_s=TOP_CATEGORY_WINDOW_S - 1, length=TOP_CATEGORY_EVENTS)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(RecentItems)
_NOTHING = RecentItems()


def encode(recent: RecentItems) -> bytes:
    """The value of a key."""
    return _encoder.encode(recent)


def decode(value: bytes | None) -> RecentItems:
    """The interactions of a value; empty without one.

    Raises:
        StoreError: it is no such value.
    """
    if value is None:
        return _NOTHING
    try:
        recent = _decoder.decode(value)
    except msgspec.MsgspecError as error:
        raise StoreError(f"recent items cannot be read: {error}; run the materialize job") from error
    if len(recent.item_ids) != len(recent.timestamps):
        raise StoreError("recent items cannot be read: items and times differ in number; run the materialize job")
    return recent


def decode_or_nothing(value: bytes | None) -> RecentItems:
    """The interactions of a value that will be replaced; empty if it cannot be read."""
    try:
        return decode(value)
    except StoreError:
        return _NOTHING


def top_category_of(day: RecentItems) -> str | None:
    """The definition of `contracts.features.top_category` on a 24-hour list of raw categories, newest first."""
    names = {name: code for code, name in enumerate(dict.fromkeys(["", *day.item_ids]))}
    codes: IntArray = np.array([names[name] for name in reversed(day.item_ids)], dtype=np.int32)
    best = top_category(codes, np.array(day.timestamps[::-1], dtype=np.int64))
    return list(names)[best] or None
