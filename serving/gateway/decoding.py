"""Bodies and query parameters to checked structs; a refusal names the field and the legal ones."""

from __future__ import annotations

import re
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from contracts.errors import MalformedError, RequestError
from serving.gateway.api import Diversity, Filters, RankingRequest, RecommendationRequest

_STRUCT_OF: Final[dict[str, type[Struct]]] = {"filters": Filters, "diversity": Diversity}
_UNKNOWN_FIELD: Final = "Object contains unknown field "  # messages quote what the client sent after that
_INNER: Final = re.compile(r" - at `\$\.(\w+)`$")
_recommendation_decoder = msgspec.json.Decoder(RecommendationRequest)
_ranking_decoder = msgspec.json.Decoder(RankingRequest)
_StructT = TypeVar("_StructT", bound=Struct)


def decode_request(body: bytes) -> RecommendationRequest:
    """Parses and checks a request for recommendations.

    Raises:
        MalformedError: not JSON.
        RequestError: unknown field, wrong type or value out of range; the message names the field.
    """
    return _decode(_recommendation_decoder, body)


def decode_ranking(body: bytes) -> RankingRequest:
    """Parses and checks a request to rank given items; raises as `decode_request`."""
    return _decode(_ranking_decoder, body)


def decode_query(parameters: dict[str, str], query: type[_StructT]) -> _StructT:
    """Checks query parameters.

    Raises:
        RequestError: unknown parameter, wrong type or value out of range.
    """
    try:
        return msgspec.convert(parameters, query, strict=False)
    except msgspec.ValidationError as error:
        raise refusal(error, query) from None


def _decode(decoder: msgspec.json.Decoder[_StructT], body: bytes) -> _StructT:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise refusal(error, decoder.type) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"the body is not valid JSON: {error}") from None


def refusal(error: msgspec.ValidationError, struct: type[Struct]) -> RequestError:
    """What a client is told about a value that does not fit a struct."""
    if str(error).startswith(_UNKNOWN_FIELD):
        inner = _INNER.search(str(error))
        legal = list((_STRUCT_OF.get(inner[1], struct) if inner else struct).__struct_fields__)
        return RequestError(f"{error}; legal fields: {', '.join(legal)}", legal=legal)
    return RequestError(str(error))
