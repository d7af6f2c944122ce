"""Calls as data, shared by both clients: what to send and how to read the answer."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

import httpx
import msgspec
from msgspec.structs import replace

from recommender_api.answers import Picture, Ready
from recommender_api.interactions import InteractionEvent, InteractionsResponse
from recommender_api.operations import READY, RECORD, Operation, encode_id
from recommender_client.errors import BadAnswerError, RefusedError, error_of
from recommender_client.retry import AGAIN

_AnswerT = TypeVar("_AnswerT")
_Query = dict[str, str | int | float | bool]


@dataclass(frozen=True)
class Call(Generic[_AnswerT]):
    """One call.

    Attributes:
        operation: of the API.
        read: reads the answer from a successful response.
        parameters: ids in the path, by name.
        query: parameters of the query.
        body: JSON, or None.
        headers: in addition to those of all calls.
        again: statuses after which to retry.
    """

    operation: Operation[object]
    read: Callable[[httpx.Response], _AnswerT]
    parameters: dict[str, str] = field(default_factory=dict)
    query: _Query = field(default_factory=dict)
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    again: frozenset[int] = AGAIN

    def request(self, client: httpx.Client | httpx.AsyncClient, request_id: str | None) -> httpx.Request:
        """Builds the HTTP request.

        Raises:
            RefusedError: an id cannot be part of an address.
        """
        path = self.operation.path.format(**{name: _in_path(name, value) for name, value in self.parameters.items()})
        headers = {**self.headers, "content-type": "application/json"} if self.body is not None else self.headers
        if request_id is not None:
            headers = {**headers, "x-request-id": request_id}
        return client.build_request(
            self.operation.method, path, params=self.query or None, content=self.body, headers=headers
        )

    def answer(self, response: httpx.Response) -> _AnswerT:
        """Reads the answer.

        Raises:
            ApiError: the response is an error or cannot be read.
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


def call(
    operation: Operation[_AnswerT], request: msgspec.Struct | None = None, *, budget_ms: int | None = None, **ids: str
) -> Call[_AnswerT]:
    """Makes a call.

    Args:
        operation: of the API.
        request: body, or query of a GET.
        budget_ms: time budget in milliseconds, for operations that have one.
        ids: in the path, by name.
    """
    has_body = request is not None and operation.method != "GET"
    return Call(
        operation,
        _reader(operation.answer),
        ids,
        query={} if request is None or has_body else msgspec.convert(_given(request), _Query),
        body=_json(_given(request)) if request is not None and has_body else None,
        headers=_budget(budget_ms),
    )


def record(events: Sequence[InteractionEvent]) -> Call[InteractionsResponse]:
    """Makes a call that records events; they get ids, so that retries count once."""
    named = [replace(event, event_id=event.event_id or uuid.uuid4().hex) for event in events]
    return dataclasses.replace(call(RECORD), body=_json([_given(event) for event in named]))


def ready() -> Call[Ready]:
    """Makes a call that asks for readiness; a 503 is an answer and not retried."""
    return dataclasses.replace(call(READY), again=frozenset())


def _reader(answer: type[_AnswerT]) -> Callable[[httpx.Response], _AnswerT]:
    if answer is Picture:  # the only answer that is not JSON
        return lambda response: cast(_AnswerT, Picture(response.content, response.headers.get("content-type", "")))
    return lambda response: msgspec.json.decode(response.content, type=answer)


def _budget(budget_ms: int | None) -> dict[str, str]:
    return {} if budget_ms is None else {"x-budget-ms": str(budget_ms)}


def _json(value: object) -> bytes:
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


def _given(value: msgspec.Struct) -> dict[str, object]:
    """Fields that differ from their defaults, so that an older service need not know the others."""
    given: dict[str, object] = {}
    for info in msgspec.structs.fields(value):
        field_value = getattr(value, info.name)
        default = info.default_factory() if info.default_factory is not msgspec.NODEFAULT else info.default
        if field_value != default:
            given[info.encode_name] = _given(field_value) if isinstance(field_value, msgspec.Struct) else field_value
    return given
