"""Endpoints for personal data: flush seen items, erase, export. Each call is audited before it acts."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import UNSET
from starlette.types import Receive, Scope

from contracts import columns as c
from contracts.clock import Clock, day_to_name
from recommender_api.answers import encode
from recommender_api.interactions import ErasedUser, FlushedSeen, SeenDay, TimedCategory, TimedItem, UserData
from serving.gateway.access.audit import AuditLog
from serving.gateway.request_ids import request_id_of
from serving.gateway.wire import CALLER_KEY
from serving.stages.user_lookup import UserFeatureReader
from serving.stores.user_data import UserDataStore


class UserDataEndpoints:
    """Endpoints of the operations on a user's data.

    They take ids of any form, so that everything that was ever accepted can be exported and erased.

    Args:
        store: stored interactions.
        features: the feature store.
        clock: tells now.
        audit: logs caller, operation and user.
    """

    def __init__(self, store: UserDataStore, features: UserFeatureReader, clock: Clock, audit: AuditLog) -> None:
        self._store = store
        self._features = features
        self._clock = clock
        self._audit = audit

    async def flush_seen(self, scope: Scope, receive: Receive, ids: Mapping[str, str]) -> bytes:
        user_id = await self._audited("flush_seen", scope, ids)
        return encode(FlushedSeen(user_id, await self._store.flush_seen(user_id)))

    async def erase_user(self, scope: Scope, receive: Receive, ids: Mapping[str, str]) -> bytes:
        user_id, now = await self._audited("erase", scope, ids), self._clock.now()
        await self._store.erase(user_id, now)
        return encode(ErasedUser(user_id, now))

    async def user_data(self, scope: Scope, receive: Receive, ids: Mapping[str, str]) -> bytes:
        return encode(await self._export(await self._audited("export", scope, ids)))

    async def _audited(self, event: str, scope: Scope, ids: Mapping[str, str]) -> str:
        """The user of a call, after writing it to the audit log."""
        fields = {
            "user_id": ids["user_id"],
            "caller": scope.get(CALLER_KEY),
            "request_id": request_id_of(scope).own,
        }
        await asyncio.to_thread(lambda: self._audit.event(event, **fields))
        return ids["user_id"]

    async def _export(self, user_id: str) -> UserData:
        state, features = await asyncio.gather(self._store.read(user_id), self._features.read([user_id]))
        values = {name: _plain(column[0]) for name, column in features.columns.items()}
        fixed = {name: values.pop(name, None) for name in (c.AGE, c.GENDER, c.TOP_CATEGORY, c.TOP_CATEGORY_LONG)}
        return UserData(
            user_id=user_id,
            known=bool(features.known[0]),
            **fixed,
            recent_items=[TimedItem(*one) for one in state.recent],
            recent_categories=[TimedCategory(category or None, time) for category, time in state.day],
            seen=[SeenDay(day_to_name(day), count) for day, count in sorted(state.seen.items())],
            erased_at=state.erased_at,
            unreadable=[*state.unreadable, *(["user_features"] if features.unreadable else [])],
            columns=values or UNSET,
        )


def _plain(value: Any) -> Any:
    """A raw value for JSON; None = unknown."""
    if isinstance(value, np.ndarray):
        return value.tolist() if value.any() else None
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    return value
