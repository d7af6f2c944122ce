"""Decodes bodies and query parameters into checked structs; errors name the field and the legal ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar, get_args
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from contracts.errors import MalformedError, RequestError
from recommender_api.requests import RankingRequest, RecommendationRequest
from recommender_api.shop import ShopTypes
from recommender_api.values import ID_PATTERN

_UNKNOWN_FIELD: Final = "Object contains unknown field "  # followed by input of the client
_NO_ID: Final = f"`str` matching regex {ID_PATTERN!r}"
_LEGAL_ID: Final = "a text without control characters that is neither '.' nor '..'"
_INNER: Final = re.compile(r" - at `\$(?:\[\.\.\.\])?((?:\.\w+)+)`$")
_StructT = TypeVar("_StructT", bound=Struct)


class RequestDecoder:
    """Decodes requests of a shop.

    Args:
        types: of the shop.
    """

    def __init__(self, types: ShopTypes) -> None:
        self._recommendation = msgspec.json.Decoder(types.recommendation)
        self._ranking = msgspec.json.Decoder(types.ranking)

    def recommendation(self, body: bytes) -> RecommendationRequest:
        """Parses and checks a request for recommendations.

        Raises:
            MalformedError: not JSON.
            RequestError: unknown field, wrong type or value out of range; the message names the field.
        """
        return _decode(self._recommendation, body)

    def ranking(self, body: bytes) -> RankingRequest:
        """Parses and checks a request to rank provided candidates; errors as in `recommendation`."""
        return _decode(self._ranking, body)


def decode_query(raw: bytes, query: type[_StructT]) -> _StructT:
    """Decodes the query of a URL.

    Raises:
        RequestError: not UTF-8, an unknown or repeated parameter, wrong type or value out of range.
    """
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError as error:
        raise RequestError(f"the query of the address is no UTF-8: {error.reason}") from None
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise RequestError(f"the parameter {repeated[0]!r} is given more than once; one value each is taken")
    try:
        return msgspec.convert(dict(pairs), query, strict=False)
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
    """The error for a value that does not fit a struct."""
    if str(error).startswith(_UNKNOWN_FIELD):
        inner = _INNER.search(str(error))
        found = _struct_at(struct, inner[1].split(".")[1:]) if inner else struct
        legal = list(found.__struct_fields__)
        return RequestError(f"{error}; legal fields: {', '.join(legal)}", legal=legal)
    return RequestError(str(error).replace(_NO_ID, _LEGAL_ID))


def _struct_at(struct: type[Struct], path: Sequence[str]) -> type[Struct]:
    """The struct at a path of fields."""
    for name in path:
        types = [info.type for info in msgspec.structs.fields(struct) if info.encode_name == name]
        inner = (one for annotation in types for one in _structs_in(annotation))
        struct = next(inner, struct)
    return struct


def _structs_in(annotation: object) -> Iterator[type[Struct]]:
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        yield annotation
    for one in get_args(annotation):
        yield from _structs_in(one)
