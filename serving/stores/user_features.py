"""User features out of Feast's online store: one round trip for all users of a batch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import redis.asyncio
from numpy.typing import NDArray

from contracts import columns as c
from contracts.errors import StoreError
from contracts.features import FEATURE_VIEWS
from contracts.ids import BoolArray
from serving.seldom import SeldomLogger
from serving.stores import feast_rows
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
        self._warn = SeldomLogger(logging.getLogger(__name__))

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
            unreadable = frozenset(place for place, row in enumerate(rows) if not self._readable(row))
        rows = [[None] * len(fields) if place in unreadable else row for place, row in enumerate(rows)]
        columns = dict(zip([*_TIMES, *_VALUES], zip(*rows, strict=True), strict=True))
        return UserFeatures(
            known=np.array([any(times) for times in zip(*(columns[time] for time in _TIMES), strict=True)]),
            ages=np.array([feast_rows.number(value) for value in columns[c.AGE]]),
            genders=_texts(columns[c.GENDER]),
            top_category=_texts(columns[c.TOP_CATEGORY]),
            top_category_long=_texts(columns[c.TOP_CATEGORY_LONG]),
            unreadable=unreadable,
        )

    def _readable(self, row: list[bytes | None] | redis.RedisError) -> bool:
        """Whether the row of a user is one; a key of another type is its own user's fault alone, all else is raised."""
        if isinstance(row, redis.RedisError):
            if not str(row).startswith("WRONGTYPE"):
                raise row
            self._warn.warning("user features", row)
            return False
        try:
            for name, value in zip(_VALUES, row[len(_TIMES) :], strict=True):
                (feast_rows.number if name == c.AGE else feast_rows.text)(value)
        except StoreError as error:
            self._warn.warning("user features", error)
            return False
        return True


def _texts(values: Sequence[bytes | None]) -> tuple[str | None, ...]:
    return tuple(feast_rows.text(value) for value in values)
