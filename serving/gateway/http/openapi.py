"""The API's description, generated from the structs that check requests and write answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

import msgspec

from recommender_api.answers import ErrorResponse, Picture
from recommender_api.interactions import Interactions
from recommender_api.operations import OPEN, OPERATIONS, Operation
from recommender_api.requests import MAX_BUDGET_MS, RankingRequest, RecommendationRequest
from recommender_api.shop import ShopTypes

JsonObject: TypeAlias = dict[str, Any]
_REASONS: Final = {
    400: "The body is not JSON.",
    401: "No credential, or one that is not valid; only with access control.",
    403: "The credential lacks the permission; only with access control.",
    404: "No such item, or it has no picture.",
    405: "The path has no such method.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    422: "Unknown field, wrong type or value out of range; events that are all refused.",
    429: "Too many requests wait; see Retry-After.",
    503: "Not ready, a stage failed whose policy is to fail, the store takes no events, or the keys of tokens "
    "cannot be fetched.",
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


_PATH_ID: Final = {
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
    "description": "Percent-encoded, a slash in it too (%2F).",
}
"""An id in a path: any form, so that everything that was ever accepted can be named."""
_BINARY: Final = {"image/*": {"schema": {"type": "string", "format": "binary"}}}
_ACCESS: Final = (401, 403, 503)


def openapi_document(shop: ShopTypes) -> JsonObject:
    """OpenAPI 3.1 of all operations of a shop."""
    operations = [replace(one, request=_of_shop(one.request, shop)) for one in OPERATIONS]
    types = [one.request for one in operations if _has_body(one)]
    types += [one.answer for one in operations if one.answer is not Picture]
    references, schemas = msgspec.json.schema_components(
        [*types, ErrorResponse], ref_template="#/components/schemas/{name}"
    )
    schema_of = dict(zip([*types, ErrorResponse], references, strict=True))
    paths: dict[str, JsonObject] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _described(one, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Multistage recommender", "version": "1"},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY},
    }


def _of_shop(request: object, shop: ShopTypes) -> object:
    """The shop's own type of a request type."""
    own = ((RecommendationRequest, shop.recommendation), (RankingRequest, shop.ranking), (Interactions, shop.events))
    return next((of_shop for plain, of_shop in own if request is plain), request)


def _has_body(operation: Operation[object]) -> bool:
    return operation.request is not None and operation.method != "GET"


def _described(operation: Operation[object], schema_of: Mapping[object, JsonObject]) -> JsonObject:
    success, *refusals = operation.statuses
    answer = _BINARY if operation.answer is Picture else _json(schema_of[operation.answer])
    responses = {str(success): {"description": operation.summary, "content": answer}}
    found: JsonObject = {"summary": operation.summary, "responses": responses}
    parameters: list[JsonObject] = [{"name": name, **_PATH_ID} for name in operation.ids]
    if _has_body(operation):
        found["requestBody"] = {"required": True, "content": _json(schema_of[operation.request])}
        parameters += [_BUDGET] if operation.has_budget else []
    elif operation.query is not None:
        parameters += _query_parameters(operation.query)
    found["parameters"] = [*parameters, _REQUEST_ID]
    if operation.permission != OPEN:
        found["description"] = f"With access control it needs the permission `{operation.permission}`."
        found["security"] = [{}, *({name: []} for name in _SECURITY)]
        refusals += _ACCESS
    for status in refusals:
        responses[str(status)] = {"description": _REASONS[status], "content": _json(schema_of[ErrorResponse])}
    return found


def _json(schema: JsonObject) -> JsonObject:
    return {"application/json": {"schema": schema}}


def _query_parameters(query: type[msgspec.Struct]) -> list[JsonObject]:
    _, schemas = msgspec.json.schema_components([query])
    properties = schemas[query.__name__]["properties"]
    return [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in properties.items()]
