"""Personal data of users over HTTP: forget what was seen, erase, export. Every call is audited before it acts."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from contracts.clock import Clock, day_to_name
from serving.gateway.api import encode
from serving.gateway.api_events import ErasedUser, FlushedSeen, SeenDay, TimedCategory, TimedItem, UserData
from serving.gateway.asgi import CALLER_KEY
from serving.gateway.audit import AuditLog
from serving.gateway.request_ids import request_id_of
from serving.stages.user_lookup import UserFeatureReader
from serving.stores.user_data import UserDataStore

Endpoint = Callable[[Request], Awaitable[Response]]


class UserDataEndpoints:
    """What the operations on a user's data do.

    They take ids of any form: whatever was accepted once can be exported and erased.

    Args:
        store: what interactions left.
        features: the feature store.
        clock: tells now.
        audit: told who asked for what about whom.
    """

    def __init__(self, store: UserDataStore, features: UserFeatureReader, clock: Clock, audit: AuditLog) -> None:
        self._store = store
        self._features = features
        self._clock = clock
        self._audit = audit

    def endpoints(self) -> dict[str, Endpoint]:
        """By name of the operation."""
        return {
            "flush_seen": self._audited("flush_seen", self._flush),
            "user_data": self._audited("export", self._export),
            "erase_user": self._audited("erase", self._erase),
        }

    def _audited(self, event: str, act: Callable[[str], Awaitable[FlushedSeen | UserData | ErasedUser]]) -> Endpoint:
        async def answer(request: Request) -> Response:
            user_id = request.path_params["user_id"]
            fields = {"caller": request.scope.get(CALLER_KEY), "request_id": request_id_of(request.scope).own}
            await asyncio.to_thread(lambda: self._audit.event(event, user_id=user_id, **fields))
            return Response(encode(await act(user_id)), media_type="application/json")

        return answer

    async def _flush(self, user_id: str) -> FlushedSeen:
        return FlushedSeen(user_id, await self._store.flush_seen(user_id))

    async def _erase(self, user_id: str) -> ErasedUser:
        now = self._clock.now()
        await self._store.erase(user_id, now)
        return ErasedUser(user_id, now)

    async def _export(self, user_id: str) -> UserData:
        state, features = await asyncio.gather(self._store.read(user_id), self._features.read([user_id]))
        age = float(features.ages[0])
        return UserData(
            user_id=user_id,
            known=bool(features.known[0]),
            age=None if math.isnan(age) else age,
            gender=features.genders[0],
            top_category=features.top_category[0],
            top_category_long=features.top_category_long[0],
            recent_items=[TimedItem(*one) for one in state.recent],
            recent_categories=[TimedCategory(category or None, time) for category, time in state.day],
            seen=[SeenDay(day_to_name(day), count) for day, count in sorted(state.seen.items())],
            erased_at=state.erased_at,
            unreadable=[*state.unreadable, *(["user_features"] if features.unreadable else [])],
        )
