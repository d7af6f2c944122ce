"""User lookup: features and recent items of all subjects of a batch, one call to each store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from contracts.errors import StoreError
from contracts.ids import BoolArray
from contracts.messages import RequestBatch
from serving.running.backoff import Backoff
from serving.running.steps import PipelineConfig
from serving.stores.recent import RecentItems
from serving.stores.user_features import UserFeatures
from serving.watching.seldom import SeldomLogger

USER_FEATURES: Final = "user_features"
RECENT_ITEMS: Final = "recent_items"
_AnswerT = TypeVar("_AnswerT")


class UserFeatureReader(Protocol):
    """Reads user features; `serving.stores` has the one on Feast."""

    async def read(self, user_ids: Sequence[str]) -> UserFeatures: ...


class RecentItemReader(Protocol):
    """Reads recent items; `serving.stores` has the one on Redis."""

    async def read(self, subjects: Sequence[str]) -> Sequence[RecentItems | None]: ...


@dataclass(frozen=True)
class UserRecords:
    """What the stores know about the subjects of B requests.

    Attributes:
        known: [B] whether the user is in the store.
        ages: [B] float64 years, NaN = not known.
        genders: [B] raw strings, None = not known.
        top_category: [B] raw strings, None = none.
        top_category_long: [B] raw strings, None = none.
        recent: [B] recent interactions of each subject.
        degraded: per request, stores that it needed and that did not answer.
    """

    known: BoolArray
    ages: NDArray[np.float64]
    genders: Sequence[str | None]
    top_category: Sequence[str | None]
    top_category_long: Sequence[str | None]
    recent: Sequence[RecentItems]
    degraded: tuple[tuple[str, ...], ...]

    @classmethod
    def anonymous(cls, size: int) -> UserRecords:
        """Nobody is known."""
        nothing = (None,) * size
        return cls(
            known=np.zeros(size, dtype=np.bool_),
            ages=np.full(size, np.nan),
            genders=nothing,
            top_category=nothing,
            top_category_long=nothing,
            recent=(RecentItems(),) * size,
            degraded=((),) * size,
        )


class UserLookup:
    """Reads both stores at once; a store that does not answer in time is left out, and the requests say so.

    Reference model: 1a feast_user_lookup
    Input: user ids and session ids, None = not told
    Output: age, gender, top categories and recent items of each subject; nothing for unknown ones
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
        self._warn = SeldomLogger(logging.getLogger(__name__))
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
        return self._records(batch, features, dict(zip(users, range(len(users)), strict=True)), recent, degraded)

    @staticmethod
    def _records(
        batch: RequestBatch,
        features: UserFeatures | None,
        place_of: dict[str, int],
        recent: Sequence[RecentItems],
        degraded: tuple[tuple[str, ...], ...],
    ) -> UserRecords:
        nobody = UserRecords.anonymous(len(batch))
        if features is None:
            return UserRecords(
                nobody.known,
                nobody.ages,
                nobody.genders,
                nobody.top_category,
                nobody.top_category_long,
                recent,
                degraded,
            )
        places = [-1 if user is None else place_of[user] for user in batch.user_ids]

        def pick(values: Sequence[str | None]) -> tuple[str | None, ...]:
            return tuple(None if place < 0 else values[place] for place in places)

        given = np.array(places) >= 0
        return UserRecords(
            known=given & features.known[places],
            ages=np.where(given, features.ages[places], np.nan),
            genders=pick(features.genders),
            top_category=pick(features.top_category),
            top_category_long=pick(features.top_category_long),
            recent=recent,
            degraded=degraded,
        )

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
