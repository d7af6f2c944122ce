"""User features out of Feast's online store: one round trip for all users of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import redis.asyncio
from numpy.typing import NDArray

from contracts import columns as c
from contracts.errors import StoreError
from contracts.features import FEATURE_VIEWS
from contracts.ids import BoolArray
from serving.stores import feast_rows
from serving.stores.broken import readable
from serving.stores.client import store_errors
from serving.stores.config import StoreConfig
from serving.stores.keys import Keys

_TIMES: Final = [feast_rows.time_field(view) for view in FEATURE_VIEWS]
_VALUES: Final = {
    field.name: feast_rows.value_field(view, field.name) for view in FEATURE_VIEWS for field in view.fields
}


@dataclass(frozen=True)
class UserFeatures:
    """What the store knows about B users; each field stands for itself, None where it is not known.

    Attributes:
        known: [B] whether the user is in the store at all.
        ages: [B] float64 years, NaN = not known.
        genders: raw strings.
        top_category: raw strings.
        top_category_long: raw strings.
        unreadable: places of users about whom the store holds something that cannot be read; they count as unknown.
    """

    known: BoolArray
    ages: NDArray[np.float64]
    genders: tuple[str | None, ...]
    top_category: tuple[str | None, ...]
    top_category_long: tuple[str | None, ...]
    unreadable: frozenset[int] = frozenset()


class UserFeatureStore:
    """Reads user features where Feast writes them; no Feast is needed for that (`feast_rows`).

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

    async def read(self, user_ids: Sequence[str]) -> UserFeatures:
        """Features of B users, in one call; a user may occur more than once.

        Raises:
            StoreError: the store does not answer in time.
        """
        if not user_ids:
            return UserFeatures(np.zeros(0, dtype=np.bool_), np.zeros(0), (), (), ())
        fields = [*_TIMES, *_VALUES.values()]
        async with store_errors(self._config, self._address), self._client.pipeline(transaction=False) as pipe:
            for user in user_ids:
                pipe.hmget(self._keys.features(user), fields)
            rows = await pipe.execute(raise_on_error=False)
            if not any(isinstance(row, redis.RedisError) for row in rows):
                with suppress(StoreError):
                    return _features(rows)
            is_broken = [readable("user_features", row, lambda one: _features([one])) is None for row in rows]
            left = [[None] * len(fields) if broken else row for row, broken in zip(rows, is_broken, strict=True)]
            return replace(_features(left), unreadable=frozenset(np.flatnonzero(is_broken).tolist()))


def _features(rows: Sequence[Sequence[bytes | None]]) -> UserFeatures:
    """The features in rows of `_TIMES` and `_VALUES`.

    Raises:
        StoreError: one cannot be read.
    """
    columns = dict(zip([*_TIMES, *_VALUES], zip(*rows, strict=True), strict=True))
    return UserFeatures(
        known=np.array([any(times) for times in zip(*(columns[time] for time in _TIMES), strict=True)]),
        ages=np.array([feast_rows.number(value) for value in columns[c.AGE]]),
        genders=_texts(columns[c.GENDER]),
        top_category=_texts(columns[c.TOP_CATEGORY]),
        top_category_long=_texts(columns[c.TOP_CATEGORY_LONG]),
    )


def _texts(values: Sequence[bytes | None]) -> tuple[str | None, ...]:
    return tuple(feast_rows.text(value) for value in values)
