"""User lookup: features and recent items of the subjects of a batch, with one call to each store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol, TypeVar

import numpy as np

from contracts.errors import StoreError
from contracts.messages import RequestBatch
from contracts.user_records import RecentItems, UserFeatures, UserRecords
from serving.running.backoff import Backoff
from serving.running.config import PipelineConfig
from serving.watching.rate_limited import RateLimitedLogger

USER_FEATURES: Final = "user_features"
RECENT_ITEMS: Final = "recent_items"
_AnswerT = TypeVar("_AnswerT")


class UserFeatureReader(Protocol):
    """Reads user features; `serving.stores` has the one on Feast."""

    async def read(self, user_ids: Sequence[str]) -> UserFeatures: ...


class RecentItemReader(Protocol):
    """Reads recent items; `serving.stores` has the one on Redis."""

    async def read(self, subjects: Sequence[str]) -> Sequence[RecentItems | None]: ...


class UserLookup:
    """Reads both stores at once; leaves out a store that does not answer in time.

    Reference model: 1a feast_user_lookup
    Input: user ids and session ids, None = unknown
    Output: the schema's columns of users, top categories and recent items of each subject; nothing for unknown ones
    Artifacts: none; Feast's online store and Redis
    Failure: a store that is down or late is left out: `user_features`, `recent_items` in `degraded`; policy
        `fail` refuses
    Cadence: profiles at each materialize; recent items with each interaction

    Args:
        features: the user features.
        recents: the recent items.
        config: policies; with `on_error.query_features: fail` a failing store fails the stage.
    """

    def __init__(self, features: UserFeatureReader, recents: RecentItemReader, config: PipelineConfig) -> None:
        self._features = features
        self._recents = recents
        self._config = config
        self._warn = RateLimitedLogger(logging.getLogger(__name__))
        self._backoffs = {USER_FEATURES: Backoff(), RECENT_ITEMS: Backoff()}

    async def __call__(self, batch: RequestBatch) -> UserRecords:
        """Records of the batch's subjects.

        Raises:
            StoreError: a store did not answer and the policy is `fail`.
        """
        users = _distinct(batch.user_ids)
        subjects = _distinct(batch.subjects)
        timeout_s = float(batch.budget_ms.max()) / 1000 * self._config.store_share
        features, recents = await asyncio.gather(
            self._ask(USER_FEATURES, lambda: self._features.read(users), timeout_s) if users else _nothing(),
            self._ask(RECENT_ITEMS, lambda: self._recents.read(subjects), timeout_s) if subjects else _nothing(),
        )
        recent_of = dict(zip(subjects, recents or [None] * len(subjects), strict=True))
        unread = set(users) if features is None else {users[place] for place in features.unreadable}
        degraded = tuple(
            (USER_FEATURES,) * (user in unread) + (RECENT_ITEMS,) * (subject is not None and recent_of[subject] is None)
            for user, subject in zip(batch.user_ids, batch.subjects, strict=True)
        )
        recent = tuple(recent_of.get(subject or "") or RecentItems() for subject in batch.subjects)
        if features is None:
            return replace(UserRecords.anonymous(len(batch)), recent=recent, degraded=degraded)
        place_of = dict(zip(users, range(len(users)), strict=True))
        places = [-1 if user is None else place_of[user] for user in batch.user_ids]
        known = (np.array(places) >= 0) & features.known[places]
        return UserRecords(known, features.of(places), recent, degraded)

    async def _ask(self, store: str, read: Callable[[], Awaitable[_AnswerT]], timeout_s: float) -> _AnswerT | None:
        async def in_time() -> _AnswerT:
            async with asyncio.timeout(timeout_s):
                return await read()

        try:
            return await self._backoffs[store].ask(in_time)
        except (StoreError, TimeoutError) as error:
            if self._config.on_error.query_features == "fail":
                raise StoreError(f"{store}: the store did not answer in time; the policy is 'fail'") from error
            self._warn.warning(store, error)
            return None


def _distinct(ids: Sequence[str | None]) -> list[str]:
    return list(dict.fromkeys(one for one in ids if one is not None))


async def _nothing() -> None:
    return None
