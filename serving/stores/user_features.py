"""Reads user features from Feast's online store: one round trip for all users of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

import numpy as np
import redis.asyncio

from contracts.encoders import Values
from contracts.errors import StoreError
from contracts.features import Field, feature_views
from contracts.schema import FeatureSchema
from contracts.user_records import UserFeatures
from serving.stores import feast_rows
from serving.stores.broken import readable
from serving.stores.connection import StoreConnection
from serving.stores.keys import Keys


class UserFeatureStore:
    """Reads user features that Feast wrote, without Feast (`feast_rows`).

    Args:
        stores: the connection.
        schema: names the columns of users to read.
    """

    def __init__(self, stores: StoreConnection, schema: FeatureSchema) -> None:
        self._stores = stores
        self._keys = Keys(stores.config.shop)
        views = feature_views(schema)
        self._columns = [field for view in views for field in view.fields]
        self._times = [feast_rows.time_field(view) for view in views]
        self._fields = [*self._times]
        self._fields += [feast_rows.value_field(view, field.name) for view in views for field in view.fields]

    async def read(self, user_ids: Sequence[str]) -> UserFeatures:
        """Features of U users, in one call; a user may occur more than once.

        Raises:
            StoreError: the store does not answer in time.
        """
        if not user_ids:
            return UserFeatures(np.zeros(0, dtype=np.bool_), {})
        async with self._stores.errors(), self._stores.client.pipeline(transaction=False) as pipe:
            for user in user_ids:
                pipe.hmget(self._keys.features(user), self._fields)
            rows = await pipe.execute(raise_on_error=False)
            if not any(isinstance(row, redis.RedisError) for row in rows):
                with suppress(StoreError):
                    return self._features(rows)
            is_broken = [readable("user_features", row, lambda one: self._features([one])) is None for row in rows]
            nothing = [None] * len(self._fields)
            left = [nothing if broken else row for row, broken in zip(rows, is_broken, strict=True)]
            return replace(self._features(left), unreadable=frozenset(np.flatnonzero(is_broken).tolist()))

    def _features(self, rows: Sequence[Sequence[bytes | None]]) -> UserFeatures:
        """Parses rows of `_fields`.

        Raises:
            StoreError: a value cannot be read.
        """
        columns = list(zip(*rows, strict=True))
        times, values = columns[: len(self._times)], columns[len(self._times) :]
        known = np.array([any(one) for one in zip(*times, strict=True)])
        pairs = zip(self._columns, values, strict=True)
        read = {field.name: _READERS[field.dtype](field, column) for field, column in pairs}
        return UserFeatures(known, read)


def reader(field: Field) -> Callable[[bytes | None], object]:
    """Reads one value of a field.

    Raises (the reader):
        StoreError: it cannot be read.
    """
    return lambda value: _READERS[field.dtype](field, [value])


_READERS: Final[Mapping[str, Callable[[Field, Sequence[bytes | None]], Values]]] = {
    "float": lambda _, values: np.array([feast_rows.number(value) for value in values]),
    "string": lambda _, values: tuple(feast_rows.text(value) for value in values),
    "strings": lambda _, values: tuple(feast_rows.texts(value) for value in values),
    "floats": lambda field, values: np.stack([feast_rows.vector(value, field.length) for value in values]),
}
