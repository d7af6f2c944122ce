"""The endpoints: one method for each operation, with its name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from starlette.responses import FileResponse
from starlette.types import ASGIApp, Receive, Scope

from contracts.clock import Clock
from contracts.errors import NotReadyError, RequestError
from recommender_api.answers import Ready, encode
from recommender_api.operations import OPERATIONS
from recommender_api.requests import MAX_BUDGET_MS, ItemQuery, SimilarQuery
from serving.gateway.catalogue.browser import Browser
from serving.gateway.catalogue.catalogue import Catalogue
from serving.gateway.decoding import RequestDecoder, decode_query
from serving.gateway.http.bodies import Bodies
from serving.gateway.http.clients import ClientAddress
from serving.gateway.recommend.service import Answer, RecommendationService
from serving.gateway.record.interactions import InteractionService
from serving.gateway.record.quotas import Sender, countable
from serving.gateway.record.users import UserDataEndpoints
from serving.gateway.request_ids import RequestId, request_id_of
from serving.gateway.watch.monitor import Monitor
from serving.gateway.wire import ANSWER_KEY, CALLER_KEY, check_json, header

Ids = Mapping[str, str]
"""Ids in a path by name."""
Endpoint = Callable[[Scope, Receive, Ids], Awaitable[bytes | ASGIApp]]
"""Answers a call with JSON, or with an application that sends another answer."""
_RequestT = TypeVar("_RequestT")
_PICTURE_HEADERS: Final = {
    "cache-control": "public, max-age=3600",
    "content-disposition": "attachment",
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
}
"""Pages may embed pictures, but browsers must not open them as documents: an SVG may contain scripts."""


@dataclass(frozen=True)
class Endpoints:
    """The endpoints of the operations, see `by_operation`.

    Attributes:
        service: answers requests for recommendations and rankings.
        interactions: records events.
        catalogue: the items.
        users: personal data.
        clock: tells now.
        monitor: status and readiness.
        bodies: reads bodies.
        browser: runs queries on the catalogue.
        address: finds client addresses.
        decode: decodes requests.
    """

    service: RecommendationService
    interactions: InteractionService
    catalogue: Catalogue
    users: UserDataEndpoints
    clock: Clock
    monitor: Monitor
    bodies: Bodies
    browser: Browser
    address: ClientAddress
    decode: RequestDecoder

    def by_operation(self) -> dict[str, Endpoint]:
        """The endpoints by name of their operation.

        Raises:
            ValueError: an operation has no endpoint.
        """
        found = {one.name: getattr(self, one.name, None) or getattr(self.users, one.name, None) for one in OPERATIONS}
        if lacking := [name for name, endpoint in found.items() if endpoint is None]:
            raise ValueError(f"the operation {lacking[0]!r} has no endpoint; write a method of that name")
        return {name: endpoint for name, endpoint in found.items() if endpoint is not None}

    async def recommend(self, scope: Scope, receive: Receive, ids: Ids) -> bytes:
        return await self._ranked(scope, receive, self.decode.recommendation, self.service.recommend)

    async def rank(self, scope: Scope, receive: Receive, ids: Ids) -> bytes:
        return await self._ranked(scope, receive, self.decode.ranking, self.service.rank)

    async def _ranked(
        self,
        scope: Scope,
        receive: Receive,
        decode: Callable[[bytes], _RequestT],
        ask: Callable[[_RequestT, RequestId, float | None], Awaitable[Answer]],
    ) -> bytes:
        check_json(scope)
        async with self.bodies.read(scope, receive) as body:
            answer = await ask(decode(body), request_id_of(scope), _budget_of(scope))
        scope[ANSWER_KEY] = answer
        return answer.content

    async def record(self, scope: Scope, receive: Receive, ids: Ids) -> bytes:
        check_json(scope)
        async with self.bodies.read(scope, receive) as body:
            address = countable(self.address(scope), self.address.is_proxy)
            return await self.interactions.record(body, Sender(scope.get(CALLER_KEY), address))

    async def items(self, scope: Scope, receive: Receive, ids: Ids) -> bytes:
        query = decode_query(scope["query_string"], ItemQuery)
        return encode(await self.browser.run(self.catalogue.page, query, self.clock.now()))

    async def item(self, scope: Scope, receive: Receive, ids: Ids) -> bytes:
        return encode(self.catalogue.item(ids["item_id"], self.clock.now()))

    async def similar(self, scope: Scope, receive: Receive, ids: Ids) -> bytes:
        query = decode_query(scope["query_string"], SimilarQuery)
        return encode(await self.browser.run(self.catalogue.similar, ids["item_id"], query.k, self.clock.now()))

    async def picture(self, scope: Scope, receive: Receive, ids: Ids) -> ASGIApp:
        path, media_type = self.catalogue.picture(ids["item_id"])
        return FileResponse(path, media_type=media_type, headers=_PICTURE_HEADERS)

    async def status(self, scope: Scope, receive: Receive, ids: Ids) -> bytes:
        return encode(await self.monitor.status())

    async def ready(self, scope: Scope, receive: Receive, ids: Ids) -> bytes:
        if not self.monitor.ready:
            raise NotReadyError("the service is warming up; ask again in a second")
        return encode(Ready(ready=True, interactions=self.monitor.interactions_code))


def _budget_of(scope: Scope) -> float | None:
    """The client's X-Budget-Ms; None without one.

    Raises:
        RequestError: it is not an integer within the limits.
    """
    given = header(scope, b"x-budget-ms")
    if given is None:
        return None
    if not given.isdigit() or len(given) > 9 or not 1 <= int(given) <= MAX_BUDGET_MS:
        raise RequestError(
            f"X-Budget-Ms is {given[:20].decode('latin-1')!r}, expected whole milliseconds from 1 to {MAX_BUDGET_MS}"
        )
    return float(given)
