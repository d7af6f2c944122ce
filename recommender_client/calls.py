"""The operations of the API as plain data: what is sent and what comes back. Both clients send them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NamedTuple, TypeVar

import httpx
import msgspec
from msgspec.structs import replace

from recommender_client.errors import BadAnswerError, RefusedError, error_of
from recommender_client.retry import AGAIN
from serving.gateway import api, api_events
from serving.gateway.operations import OPERATIONS, encode_id

_AnswerT = TypeVar("_AnswerT")
_OPERATIONS: Final = {operation.name: operation for operation in OPERATIONS}


class Picture(NamedTuple):
    """An item's picture."""

    content: bytes
    media_type: str


@dataclass(frozen=True)
class Call(Generic[_AnswerT]):
    """One call.

    Attributes:
        operation: name of the client's method.
        read: the answer of a successful response.
        parameters: of the path.
        query: of the address.
        body: JSON.
        headers: beside those that every call has.
        again: statuses that are worth another try.
    """

    operation: str
    read: Callable[[httpx.Response], _AnswerT]
    parameters: dict[str, str] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    again: frozenset[int] = AGAIN

    def request(self, client: httpx.Client | httpx.AsyncClient, request_id: str | None) -> httpx.Request:
        """The HTTP request.

        Raises:
            RefusedError: an id that no address can hold.
        """
        operation = _OPERATIONS[self.operation]
        path = operation.path.format(**{name: _in_path(name, value) for name, value in self.parameters.items()})
        headers = {**self.headers, "content-type": "application/json"} if self.body is not None else self.headers
        if request_id is not None:
            headers = {**headers, "x-request-id": request_id}
        return client.build_request(
            operation.method, path, params=self.query or None, content=self.body, headers=headers
        )

    def answer(self, response: httpx.Response) -> _AnswerT:
        """The answer.

        Raises:
            ApiError: the response tells of an error or cannot be read.
        """
        request_id = response.headers.get("x-request-id")
        if not response.is_success:
            raise error_of(response.status_code, response.content, request_id)
        try:
            return self.read(response)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadAnswerError(
                f"the answer is not the one that is described: {error}",
                code="bad_answer",
                status=response.status_code,
                request_id=request_id,
            ) from error


def recommend(request: api.RecommendationRequest, budget_ms: int | None) -> Call[api.RecommendationResponse]:
    """Ranked items for a visitor."""
    return Call("recommend", _reader(api.RecommendationResponse), body=_body(request), headers=_budget(budget_ms))


def rank(request: api.RankingRequest, budget_ms: int | None) -> Call[api.RankingResponse]:
    """Given items, ranked for a visitor."""
    return Call("rank", _reader(api.RankingResponse), body=_body(request), headers=_budget(budget_ms))


def record(events: Sequence[api_events.InteractionEvent]) -> Call[api_events.InteractionsResponse]:
    """Events, accepted or refused one by one; they get ids, so that an attempt that is repeated counts once."""
    named = [replace(event, event_id=event.event_id or uuid.uuid4().hex) for event in events]
    return Call("record", _reader(api_events.InteractionsResponse), body=_json([_given(event) for event in named]))


def flush_seen(user_id: str) -> Call[api_events.FlushedSeen]:
    """Forgets what a user saw."""
    return Call("flush_seen", _reader(api_events.FlushedSeen), {"user_id": user_id})


def erase_user(user_id: str) -> Call[api_events.ErasedUser]:
    """Erases a user."""
    return Call("erase_user", _reader(api_events.ErasedUser), {"user_id": user_id})


def user_data(user_id: str) -> Call[api_events.UserData]:
    """What is stored about a user."""
    return Call("user_data", _reader(api_events.UserData), {"user_id": user_id})


def items(query: api.ItemQuery) -> Call[api.ItemPage]:
    """A page of the catalogue."""
    return Call("items", _reader(api.ItemPage), query=_given(query))


def item(item_id: str) -> Call[api.Item]:
    """One item."""
    return Call("item", _reader(api.Item), {"item_id": item_id})


def similar(item_id: str, query: api.SimilarQuery) -> Call[api.SimilarItems]:
    """Items that are like one."""
    return Call("similar", _reader(api.SimilarItems), {"item_id": item_id}, _given(query))


def picture(item_id: str) -> Call[Picture]:
    """An item's picture."""

    def read(response: httpx.Response) -> Picture:
        return Picture(response.content, response.headers.get("content-type", ""))

    return Call("picture", read, {"item_id": item_id})


def status() -> Call[api.Status]:
    """How the service does."""
    return Call("status", _reader(api.Status))


def ready() -> Call[api.Ready]:
    """Whether the service is warmed up; a 503 is an answer, too."""
    return Call("ready", _reader(api.Ready), again=frozenset())


def _reader(answer: type[_AnswerT]) -> Callable[[httpx.Response], _AnswerT]:
    return lambda response: msgspec.json.decode(response.content, type=answer)


def _budget(budget_ms: int | None) -> dict[str, str]:
    return {} if budget_ms is None else {"x-budget-ms": str(budget_ms)}


def _body(request: msgspec.Struct) -> bytes:
    return _json(_given(request))


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError as error:
        raise _no_text("the request", error) from None


def _in_path(name: str, raw_id: str) -> str:
    if not raw_id:
        raise RefusedError(f"{name} is empty; expected an id", code="invalid_request")
    try:
        return encode_id(raw_id)
    except UnicodeEncodeError as error:
        raise _no_text(name, error) from None


def _no_text(what: str, error: UnicodeEncodeError) -> RefusedError:
    half = error.object[error.start]
    return RefusedError(f"{what} holds {half!r}, half of a character; expected Unicode", code="invalid_request")


def _given(value: msgspec.Struct) -> dict[str, Any]:
    """What differs from the default: a service that is older than this client need not know the rest."""
    given: dict[str, Any] = {}
    for info in msgspec.structs.fields(value):
        field_value = getattr(value, info.name)
        default = info.default_factory() if info.default_factory is not msgspec.NODEFAULT else info.default
        if field_value != default:
            given[info.encode_name] = _given(field_value) if isinstance(field_value, msgspec.Struct) else field_value
    return given
