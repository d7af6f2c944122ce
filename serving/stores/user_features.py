"""User features through Feast: one call for all users of a batch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import redis
from numpy.typing import NDArray
from redis.retry import Retry

from contracts import columns as c
from contracts.errors import StoreError
from contracts.ids import BoolArray
from serving.stores.client import NUM_RETRIES, bulk_errors, retry_backoff, store_errors
from serving.stores.config import StoreConfig

if TYPE_CHECKING:
    from feast import FeatureStore

logger = logging.getLogger(__name__)

_NUM_THREADS = 2  # a call that the event loop gave up may still wait for its socket


@dataclass(frozen=True)
class UserFeatures:
    """What the store knows about B users; each field stands for itself, None where it is not known.

    Attributes:
        known: [B] whether the user is in the store at all.
        ages: [B] float64 years, NaN = not known.
        genders: raw strings.
        top_category: raw strings.
        top_category_long: raw strings.
    """

    known: BoolArray
    ages: NDArray[np.float64]
    genders: tuple[str | None, ...]
    top_category: tuple[str | None, ...]
    top_category_long: tuple[str | None, ...]


class UserFeatureStore:
    """Reads user features from Feast's online store; importing feast, here, takes seconds.

    Args:
        config: the store's settings.
        address: redis:// or rediss:// address.
    """

    def __init__(self, config: StoreConfig, address: str) -> None:
        from serving.stores import feast_repo

        self._repo = feast_repo
        self._config = config
        self._address = address
        self._store: FeatureStore | None = None
        self._threads = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="feast")
        self._warm_up()

    async def read(self, user_ids: Sequence[str]) -> UserFeatures:
        """Features of B users, in one call; a user may occur more than once.

        Raises:
            StoreError: the store does not answer in time, or was never filled.
        """
        if not user_ids:
            return UserFeatures(np.zeros(0, dtype=np.bool_), np.zeros(0), (), (), ())
        async with store_errors(self._config, self._address):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._read, list(user_ids))

    def close(self) -> None:
        """Ends the threads; calls under way are left to their time limit."""
        self._threads.shutdown(wait=False)

    def _warm_up(self) -> None:
        """The first call of Feast imports half of it; a store that is down now may be there when it is needed."""
        try:
            with bulk_errors(self._address):
                self._read([""])
        except StoreError as error:
            logger.warning("user features are not there yet: %s", error.message)

    def _read(self, user_ids: list[str]) -> UserFeatures:
        store = self._open()
        retry = Retry(retry_backoff(), NUM_RETRIES, supported_errors=(redis.ConnectionError,))
        answer = retry.call_with_retry(
            lambda: store.get_online_features(list(self._repo.FEATURES), {c.USER_ID: user_ids}).proto,
            lambda error: None,
        )
        columns = dict(zip(answer.metadata.feature_names.val, answer.results, strict=True))
        # Feast answers with empty values for users that are not there; only the event time tells.
        written = np.array(
            [[stamp.seconds > 0 for stamp in column.event_timestamps] for column in answer.results], dtype=np.bool_
        )
        return UserFeatures(
            known=np.logical_or.reduce(written, axis=0),
            ages=np.array([_float(value) for value in columns[c.AGE].values]),
            genders=_strings(columns[c.GENDER]),
            top_category=_strings(columns[c.TOP_CATEGORY]),
            top_category_long=_strings(columns[c.TOP_CATEGORY_LONG]),
        )

    def _open(self) -> FeatureStore:
        if self._store is None:
            registry = self._repo.registry_path(self._config)
            if not registry.is_file():
                raise StoreError(f"no feature registry at {registry}; run the materialize job")
            self._store = self._repo.open_store(self._config, self._address)
        return self._store


def _float(value: Any) -> float:
    return float(value.double_val) if value.WhichOneof("val") == "double_val" else np.nan


def _strings(column: Any) -> tuple[str | None, ...]:
    return tuple(value.string_val if value.WhichOneof("val") == "string_val" else None for value in column.values)
