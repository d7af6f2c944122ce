"""The API's description, generated from the structs that check requests and write answers."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from serving.gateway import api, api_events
from serving.gateway.asgi import MAX_BUDGET_MS
from serving.gateway.operations import OPEN, OPERATIONS

_STRUCTS: Final = (
    api.RecommendationRequest,
    api.RecommendationResponse,
    api.RankingRequest,
    api.RankingResponse,
    api_events.InteractionEvent,
    api_events.InteractionsResponse,
    api_events.UserData,
    api_events.FlushedSeen,
    api_events.ErasedUser,
    api.SimilarItems,
    api.Item,
    api.ItemPage,
    api.Status,
    api.Ready,
    api.ErrorResponse,
)
_REASONS: Final = {
    400: "The body is not JSON.",
    401: "No credential, or one that is not valid; only where access is limited.",
    403: "The credential lacks the permission; only where access is limited.",
    404: "No such item, or it has no picture.",
    405: "The path has no such method.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    422: "Unknown field, wrong type or value out of range; events that are all refused.",
    429: "Too many requests wait; see Retry-After.",
    503: "Not ready, a stage failed whose policy is to fail, the store takes no events, or the keys of tokens are out "
    "of reach.",
}
_SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or a JSON Web Token."},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}
_REQUEST_ID: Final = {
    "name": "X-Request-Id",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "Comes back in the answer's header if it is at most 128 letters, digits, dots, dashes, _ and :; "
    "else a new one does.",
}
_BUDGET: Final = {
    "name": "X-Budget-Ms",
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_BUDGET_MS},
    "description": "Milliseconds until the answer must be there; parts that would be late are left out.",
}


def openapi_document() -> dict[str, Any]:
    """OpenAPI 3.1 of all paths."""
    (*_, events), schemas = msgspec.json.schema_components(
        [*_STRUCTS, api_events.Interactions], ref_template="#/components/schemas/{name}"
    )
    recommend = _asked("Ranked items for a visitor", _reference(api.RecommendationRequest), api.RecommendationResponse)
    rank = _asked("Given items, scored and ranked for a visitor", _reference(api.RankingRequest), api.RankingResponse)
    for operation in (recommend, rank):
        operation["parameters"] = [_BUDGET]
    record = _asked("Events, durable once they are accepted", events, api_events.InteractionsResponse, success=202)
    item_id, user_id = _path_id("item_id"), _path_id("user_id")
    page = _operation("A page of the catalogue", api.ItemPage, 405, 422) | {
        "parameters": _query_parameters(api.ItemQuery)
    }
    item = _operation("One item", api.Item, 404, 405, 422) | {"parameters": [item_id]}
    similar = _operation("Items that are like one", api.SimilarItems, 404, 405, 422)
    similar["parameters"] = [item_id, *_query_parameters(api.SimilarQuery)]
    picture = _operation("An item's picture", None, 404, 405, 422) | {"parameters": [item_id]}
    picture["responses"]["200"]["content"] = {"image/*": {"schema": {"type": "string", "format": "binary"}}}
    flush = _operation("Forgets what the user saw", api_events.FlushedSeen, 405, 422, 503) | {"parameters": [user_id]}
    erase = _operation("Erases the user, for good", api_events.ErasedUser, 405, 422, 503) | {"parameters": [user_id]}
    export = _operation("What is stored about the user", api_events.UserData, 405, 422, 503) | {"parameters": [user_id]}
    described = {
        "recommend": recommend,
        "rank": rank,
        "record": record,
        "flush_seen": flush,
        "erase_user": erase,
        "user_data": export,
        "items": page,
        "item": item,
        "similar": similar,
        "picture": picture,
        "status": _operation("Bundle, placement, stores and degraded parts", api.Status, 405),
        "ready": _operation("Whether it is warmed up", api.Ready, 405, 503),
    }
    paths: dict[str, dict[str, Any]] = {}
    for one in OPERATIONS:
        operation = described[one.name]
        operation["parameters"] = [*operation.get("parameters", ()), _REQUEST_ID]
        _limit_access(operation, one.permission)
        paths.setdefault(one.path, {})[one.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Multistage recommender", "version": "1"},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY},
    }


def _path_id(name: str) -> dict[str, Any]:
    """An id in a path; those of any form are taken there, so that all that was ever accepted can be named."""
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
        "description": "Percent-encoded, a slash in it too (%2F).",
    }


def _limit_access(operation: dict[str, Any], needed: str) -> None:
    """Says which permission an operation needs where access is limited."""
    if needed == OPEN:
        return
    operation["description"] = f"Where access is limited it needs the permission `{needed}`."
    operation["security"] = [{}, *({name: []} for name in _SECURITY)]
    for status in (401, 403, 503):
        operation["responses"][str(status)] = _refusal(status)


def _asked(
    summary: str, request: dict[str, Any], answer: type[msgspec.Struct], *, success: int = 200
) -> dict[str, Any]:
    """An operation that takes a JSON body of a schema."""
    operation = _operation(summary, answer, 400, 405, 413, 415, 422, 429, 503, success=success)
    operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": request}}}
    return operation


def _operation(summary: str, answer: type[msgspec.Struct] | None, *errors: int, success: int = 200) -> dict[str, Any]:
    responses: dict[str, Any] = {str(success): {"description": summary}}
    if answer is not None:
        responses[str(success)]["content"] = _content(answer)
    for status in errors:
        responses[str(status)] = _refusal(status)
    return {"summary": summary, "responses": responses}


def _refusal(status: int) -> dict[str, Any]:
    return {"description": _REASONS[status], "content": _content(api.ErrorResponse)}


def _content(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {"application/json": {"schema": _reference(struct)}}


def _reference(struct: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{struct.__name__}"}


def _query_parameters(query: type[msgspec.Struct]) -> list[dict[str, Any]]:
    _, schemas = msgspec.json.schema_components([query])
    properties = schemas[query.__name__]["properties"]
    return [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in properties.items()]
