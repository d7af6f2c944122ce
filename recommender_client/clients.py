"""The synchronous and the asynchronous client, with the same methods."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, TypeVar

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
from recommender_client.connection import result, settings
from recommender_client.errors import UnavailableError
from recommender_client.retry import Outcome, Retry

_AnswerT = TypeVar("_AnswerT")
_NOBODY: Final = RecommendationRequest()
_FIRST_PAGE: Final = ItemQuery()
_SIMILAR: Final = SimilarQuery()


class Client:
    """Calls the API; safe to share between threads. Close it, or use it in a `with` block.

    Args:
        base_url: address of the service, including a path prefix.
        credential: API key or token.
        timeout_s: limit of each attempt for connecting, for sending, and between two parts of the answer.
        retry: how to retry after 429, 503, and connections that fail or break.
        transport: replaces the network in tests.

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
        self._http = httpx.Client(transport=transport, **settings(base_url, credential, timeout_s))
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
        """Calls an operation of `recommender_api.operations`; the methods below do so by name.

        Args:
            operation: of the API.
            request: body, or query of a GET.
            budget_ms: time budget in milliseconds, for operations that have one.
            request_id: identifies the call in the service's logs.
            ids: in the path, by name.
        """
        return self._send(call(operation, request, budget_ms=budget_ms, **ids), request_id)

    def recommend(
        self, request: RecommendationRequest = _NOBODY, *, budget_ms: int | None = None, request_id: str | None = None
    ) -> RecommendationResponse:
        """Recommends items to a visitor, within a budget of milliseconds if given."""
        return self.call(RECOMMEND, request, budget_ms=budget_ms, request_id=request_id)

    def rank(
        self, request: RankingRequest, *, budget_ms: int | None = None, request_id: str | None = None
    ) -> RankingResponse:
        """Scores and ranks items for a visitor."""
        return self.call(RANK, request, budget_ms=budget_ms, request_id=request_id)

    def record(self, events: Sequence[InteractionEvent], *, request_id: str | None = None) -> InteractionsResponse:
        """Records events; accepted events are durable. Retries count once."""
        return self._send(calls.record(events), request_id)

    def flush_seen(self, user_id: str, *, request_id: str | None = None) -> FlushedSeen:
        """Empties the seen filter of a user; all items may be recommended again."""
        return self.call(FLUSH_SEEN, user_id=user_id, request_id=request_id)

    def erase_user(self, user_id: str, *, request_id: str | None = None) -> ErasedUser:
        """Erases a user permanently."""
        return self.call(ERASE_USER, user_id=user_id, request_id=request_id)

    def user_data(self, user_id: str, *, request_id: str | None = None) -> UserData:
        """Exports what is stored about a user."""
        return self.call(USER_DATA, user_id=user_id, request_id=request_id)

    def items(self, query: ItemQuery = _FIRST_PAGE, *, request_id: str | None = None) -> ItemPage:
        """A page of the catalogue."""
        return self.call(ITEMS, query, request_id=request_id)

    def item(self, item_id: str, *, request_id: str | None = None) -> Item:
        """One item."""
        return self.call(ITEM, item_id=item_id, request_id=request_id)

    def similar(self, item_id: str, query: SimilarQuery = _SIMILAR, *, request_id: str | None = None) -> SimilarItems:
        """Items similar to an item."""
        return self.call(SIMILAR, query, item_id=item_id, request_id=request_id)

    def picture(self, item_id: str, *, request_id: str | None = None) -> Picture:
        """An item's picture."""
        return self.call(PICTURE, item_id=item_id, request_id=request_id)

    def status(self, *, request_id: str | None = None) -> Status:
        """Bundle, placement, stores and degraded parts."""
        return self.call(STATUS, request_id=request_id)

    def ready(self, *, request_id: str | None = None) -> bool:
        """Whether the service is warmed up; False also if it does not answer."""
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
                return result(call, outcome, self._http.base_url)
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
    """`Client` for asyncio. Use it within one event loop; close it, or use it in an `async with` block."""

    def __init__(
        self,
        base_url: str,
        *,
        credential: str | None = None,
        timeout_s: float = 5.0,
        retry: Retry | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(transport=transport, **settings(base_url, credential, timeout_s))
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
        """Recommends items to a visitor, within a budget of milliseconds if given."""
        return await self.call(RECOMMEND, request, budget_ms=budget_ms, request_id=request_id)

    async def rank(
        self, request: RankingRequest, *, budget_ms: int | None = None, request_id: str | None = None
    ) -> RankingResponse:
        """Scores and ranks items for a visitor."""
        return await self.call(RANK, request, budget_ms=budget_ms, request_id=request_id)

    async def record(
        self, events: Sequence[InteractionEvent], *, request_id: str | None = None
    ) -> InteractionsResponse:
        """Records events; accepted events are durable. Retries count once."""
        return await self._send(calls.record(events), request_id)

    async def flush_seen(self, user_id: str, *, request_id: str | None = None) -> FlushedSeen:
        """Empties the seen filter of a user; all items may be recommended again."""
        return await self.call(FLUSH_SEEN, user_id=user_id, request_id=request_id)

    async def erase_user(self, user_id: str, *, request_id: str | None = None) -> ErasedUser:
        """Erases a user permanently."""
        return await self.call(ERASE_USER, user_id=user_id, request_id=request_id)

    async def user_data(self, user_id: str, *, request_id: str | None = None) -> UserData:
        """Exports what is stored about a user."""
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
        """Items similar to an item."""
        return await self.call(SIMILAR, query, item_id=item_id, request_id=request_id)

    async def picture(self, item_id: str, *, request_id: str | None = None) -> Picture:
        """An item's picture."""
        return await self.call(PICTURE, item_id=item_id, request_id=request_id)

    async def status(self, *, request_id: str | None = None) -> Status:
        """Bundle, placement, stores and degraded parts."""
        return await self.call(STATUS, request_id=request_id)

    async def ready(self, *, request_id: str | None = None) -> bool:
        """Whether the service is warmed up; False also if it does not answer."""
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
                return result(call, outcome, self._http.base_url)
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
