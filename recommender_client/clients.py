"""The two clients: the same methods, once to be called and once to be awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, TypedDict, TypeVar

import httpx
import msgspec

from recommender_api.answers import (
    Item,
    ItemPage,
    Picture,
    RankingResponse,
    RecommendationResponse,
    SimilarItems,
    Status,
)
from recommender_api.interactions import ErasedUser, FlushedSeen, InteractionEvent, InteractionsResponse, UserData
from recommender_api.operations import (
    ERASE_USER,
    FLUSH_SEEN,
    ITEM,
    ITEMS,
    PICTURE,
    RANK,
    RECOMMEND,
    SIMILAR,
    STATUS,
    USER_DATA,
    Operation,
)
from recommender_api.requests import ItemQuery, RankingRequest, RecommendationRequest, SimilarQuery
from recommender_client import calls
from recommender_client.calls import Call, call
from recommender_client.errors import NoConnectionError, UnavailableError
from recommender_client.retry import Outcome, Retry

_AnswerT = TypeVar("_AnswerT")
_NOBODY: Final = RecommendationRequest()
_FIRST_PAGE: Final = ItemQuery()
_SIMILAR: Final = SimilarQuery()


class _Settings(TypedDict):
    """Arguments of both HTTP clients."""

    base_url: str
    headers: dict[str, str]
    timeout: float


def _settings(base_url: str, credential: str | None, timeout_s: float) -> _Settings:
    headers = {} if credential is None else {"authorization": f"Bearer {credential}"}
    return {"base_url": base_url, "headers": headers, "timeout": timeout_s}


def _result(call: Call[_AnswerT], outcome: Outcome, base_url: httpx.URL) -> _AnswerT:
    if isinstance(outcome, httpx.TransportError):
        code = "timeout" if isinstance(outcome, httpx.TimeoutException) else "no_connection"
        raise NoConnectionError(f"no answer from {base_url}: {outcome!r}", code=code) from outcome
    return call.answer(outcome)


class Client:
    """Calls the API; safe to share between threads. Close it, or use it in a `with` block.

    Args:
        base_url: address of the service, with the path that it is mounted at.
        credential: API key or token.
        timeout_s: longest that each attempt may take to connect, to send, and between two pieces of the answer.
        retry: when a call is tried again: after 429, 503 and a connection that could not be made or broke.
        transport: how requests travel; for tests.

    Every method raises an `ApiError`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        credential: str | None = None,
        timeout_s: float = 5.0,
        retry: Retry | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(transport=transport, **_settings(base_url, credential, timeout_s))
        self._retry = retry or Retry()

    def call(
        self,
        operation: Operation[_AnswerT],
        request: msgspec.Struct | None = None,
        *,
        budget_ms: int | None = None,
        request_id: str | None = None,
        **ids: str,
    ) -> _AnswerT:
        """Any operation of `recommender_api.operations`; the methods below have names of their own for it.

        Args:
            operation: of the API.
            request: its body, or its query where it gets something.
            budget_ms: milliseconds that it may take, for those that have a budget.
            request_id: finds the call in the service's logs.
            ids: in its path.
        """
        return self._send(call(operation, request, budget_ms=budget_ms, **ids), request_id)

    def recommend(
        self, request: RecommendationRequest = _NOBODY, *, budget_ms: int | None = None, request_id: str | None = None
    ) -> RecommendationResponse:
        """Ranked items for a visitor, within a budget of milliseconds if one is given."""
        return self.call(RECOMMEND, request, budget_ms=budget_ms, request_id=request_id)

    def rank(
        self, request: RankingRequest, *, budget_ms: int | None = None, request_id: str | None = None
    ) -> RankingResponse:
        """Given items, scored and ranked for a visitor."""
        return self.call(RANK, request, budget_ms=budget_ms, request_id=request_id)

    def record(self, events: Sequence[InteractionEvent], *, request_id: str | None = None) -> InteractionsResponse:
        """Sends what visitors did; accepted events are durable. An attempt that is repeated counts once."""
        return self._send(calls.record(events), request_id)

    def flush_seen(self, user_id: str, *, request_id: str | None = None) -> FlushedSeen:
        """Forgets what a user saw; everything may be recommended again."""
        return self.call(FLUSH_SEEN, user_id=user_id, request_id=request_id)

    def erase_user(self, user_id: str, *, request_id: str | None = None) -> ErasedUser:
        """Erases a user, for good."""
        return self.call(ERASE_USER, user_id=user_id, request_id=request_id)

    def user_data(self, user_id: str, *, request_id: str | None = None) -> UserData:
        """What is stored about a user."""
        return self.call(USER_DATA, user_id=user_id, request_id=request_id)

    def items(self, query: ItemQuery = _FIRST_PAGE, *, request_id: str | None = None) -> ItemPage:
        """A page of the catalogue."""
        return self.call(ITEMS, query, request_id=request_id)

    def item(self, item_id: str, *, request_id: str | None = None) -> Item:
        """One item."""
        return self.call(ITEM, item_id=item_id, request_id=request_id)

    def similar(self, item_id: str, query: SimilarQuery = _SIMILAR, *, request_id: str | None = None) -> SimilarItems:
        """Items that are like one."""
        return self.call(SIMILAR, query, item_id=item_id, request_id=request_id)

    def picture(self, item_id: str, *, request_id: str | None = None) -> Picture:
        """An item's picture."""
        return self.call(PICTURE, item_id=item_id, request_id=request_id)

    def status(self, *, request_id: str | None = None) -> Status:
        """Bundle, placement, stores and degraded parts."""
        return self.call(STATUS, request_id=request_id)

    def ready(self, *, request_id: str | None = None) -> bool:
        """Whether it is warmed up; False also while nobody answers for it."""
        try:
            return self._send(calls.ready(), request_id).ready
        except UnavailableError:
            return False

    def _send(self, call: Call[_AnswerT], request_id: str | None) -> _AnswerT:
        attempt = 0
        while True:
            attempt += 1
            outcome: Outcome
            try:
                outcome = self._http.send(call.request(self._http, request_id))
            except httpx.TransportError as error:
                outcome = error
            wait_s = self._retry.wait_after(outcome, attempt, call.again)
            if wait_s is None:
                return _result(call, outcome, self._http.base_url)
            time.sleep(wait_s)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """As `Client`, for one event loop. Close it, or use it in an `async with` block."""

    def __init__(
        self,
        base_url: str,
        *,
        credential: str | None = None,
        timeout_s: float = 5.0,
        retry: Retry | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(transport=transport, **_settings(base_url, credential, timeout_s))
        self._retry = retry or Retry()

    async def call(
        self,
        operation: Operation[_AnswerT],
        request: msgspec.Struct | None = None,
        *,
        budget_ms: int | None = None,
        request_id: str | None = None,
        **ids: str,
    ) -> _AnswerT:
        """As `Client.call`."""
        return await self._send(call(operation, request, budget_ms=budget_ms, **ids), request_id)

    async def recommend(
        self, request: RecommendationRequest = _NOBODY, *, budget_ms: int | None = None, request_id: str | None = None
    ) -> RecommendationResponse:
        """Ranked items for a visitor, within a budget of milliseconds if one is given."""
        return await self.call(RECOMMEND, request, budget_ms=budget_ms, request_id=request_id)

    async def rank(
        self, request: RankingRequest, *, budget_ms: int | None = None, request_id: str | None = None
    ) -> RankingResponse:
        """Given items, scored and ranked for a visitor."""
        return await self.call(RANK, request, budget_ms=budget_ms, request_id=request_id)

    async def record(
        self, events: Sequence[InteractionEvent], *, request_id: str | None = None
    ) -> InteractionsResponse:
        """Sends what visitors did; accepted events are durable. An attempt that is repeated counts once."""
        return await self._send(calls.record(events), request_id)

    async def flush_seen(self, user_id: str, *, request_id: str | None = None) -> FlushedSeen:
        """Forgets what a user saw; everything may be recommended again."""
        return await self.call(FLUSH_SEEN, user_id=user_id, request_id=request_id)

    async def erase_user(self, user_id: str, *, request_id: str | None = None) -> ErasedUser:
        """Erases a user, for good."""
        return await self.call(ERASE_USER, user_id=user_id, request_id=request_id)

    async def user_data(self, user_id: str, *, request_id: str | None = None) -> UserData:
        """What is stored about a user."""
        return await self.call(USER_DATA, user_id=user_id, request_id=request_id)

    async def items(self, query: ItemQuery = _FIRST_PAGE, *, request_id: str | None = None) -> ItemPage:
        """A page of the catalogue."""
        return await self.call(ITEMS, query, request_id=request_id)

    async def item(self, item_id: str, *, request_id: str | None = None) -> Item:
        """One item."""
        return await self.call(ITEM, item_id=item_id, request_id=request_id)

    async def similar(
        self, item_id: str, query: SimilarQuery = _SIMILAR, *, request_id: str | None = None
    ) -> SimilarItems:
        """Items that are like one."""
        return await self.call(SIMILAR, query, item_id=item_id, request_id=request_id)

    async def picture(self, item_id: str, *, request_id: str | None = None) -> Picture:
        """An item's picture."""
        return await self.call(PICTURE, item_id=item_id, request_id=request_id)

    async def status(self, *, request_id: str | None = None) -> Status:
        """Bundle, placement, stores and degraded parts."""
        return await self.call(STATUS, request_id=request_id)

    async def ready(self, *, request_id: str | None = None) -> bool:
        """Whether it is warmed up; False also while nobody answers for it."""
        try:
            return (await self._send(calls.ready(), request_id)).ready
        except UnavailableError:
            return False

    async def _send(self, call: Call[_AnswerT], request_id: str | None) -> _AnswerT:
        attempt = 0
        while True:
            attempt += 1
            outcome: Outcome
            try:
                outcome = await self._http.send(call.request(self._http, request_id))
            except httpx.TransportError as error:
                outcome = error
            wait_s = self._retry.wait_after(outcome, attempt, call.again)
            if wait_s is None:
                return _result(call, outcome, self._http.base_url)
            await asyncio.sleep(wait_s)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
