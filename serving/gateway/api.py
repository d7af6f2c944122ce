"""What clients send and get, once: msgspec structs validate requests, write responses and describe the API."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from contracts.errors import RequestError

MAX_K: Final = 100
MAX_RECENT_ITEMS: Final = 100
MAX_EXCLUDED: Final = 1_000
MAX_NAMES: Final = 100
MAX_PAGE: Final = 100
_MAX_ID = 256

Id = Annotated[str, Meta(min_length=1, max_length=_MAX_ID)]
Names = Annotated[list[Id], Meta(min_length=1, max_length=MAX_NAMES)]
Price = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Cap = Annotated[int, Meta(ge=1, le=MAX_K)]


class Filters(Struct, frozen=True, forbid_unknown_fields=True):
    """Items to choose from: those that fit in every field that is given."""

    category_l1: Annotated[Names | None, Meta(description="One of these; unknown ones are refused.")] = None
    category_l2: Annotated[Names | None, Meta(description="One of these; unknown ones are refused.")] = None
    gender: Annotated[
        Names | None, Meta(description="The item's gender is one of these; unknown ones are refused.")
    ] = None
    min_price: Annotated[Price | None, Meta(description="Lowest price, itself included; items must have one.")] = None
    max_price: Annotated[Price | None, Meta(description="Highest price, itself included; items must have one.")] = None


class Diversity(Struct, frozen=True, forbid_unknown_fields=True):
    """How the list may differ from the ranker's order; what is not given is as the service is set."""

    order: Annotated[
        Literal["greedy", "sampled", "weighted"] | None,
        Meta(
            description="greedy: highest score first. sampled: without replacement by softmax(logit / temperature). "
            "weighted: by softmax(score / temperature) among the 100 best."
        ),
    ] = None
    temperature: Annotated[
        Annotated[float, Meta(ge=0.0001, le=1_000)] | None,
        Meta(description="Divisor of logits or scores: the higher, the more even the draws."),
    ] = None
    epsilon: Annotated[Share | None, Meta(description="Share of uniform draws among all ranked items.")] = None
    mmr: Annotated[
        Annotated[float, Meta(ge=0, lt=1)] | None,
        Meta(description="Weight of likeness to the items above, against relevance (maximal marginal relevance)."),
    ] = None
    max_per_category_l1: Annotated[Cap | None, Meta(description="Most items of one category.")] = None
    max_per_category_l2: Annotated[Cap | None, Meta(description="Most items of one finer category.")] = None


class RecommendationRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Who asks, from where, for how many items and which; everything is optional."""

    user_id: Annotated[Id | None, Meta(description="The shop's user id; unknown and missing ones get answers too.")] = (
        None
    )
    session_id: Annotated[Id | None, Meta(description="Whose recent items count when there is no user id.")] = None
    recent_items: Annotated[
        list[Id], Meta(max_length=MAX_RECENT_ITEMS, description="Item ids that the client saw itself, newest last.")
    ] = []
    device_type: Annotated[Id | None, Meta(description="For example mobile, desktop or tablet.")] = None
    timestamp: Annotated[
        int | None, Meta(description="Unix seconds that give hour and weekday; missing or 0 = now.")
    ] = None
    k: Annotated[int, Meta(ge=1, le=MAX_K, description="Items wanted.")] = 10
    exclude: Annotated[
        list[Id], Meta(max_length=MAX_EXCLUDED, description="Item ids that must not come back; unknown ones are fine.")
    ] = []
    filters: Annotated[Filters | None, Meta(description="Items to choose from; null = all.")] = None
    diversity: Annotated[Diversity | None, Meta(description="How the list is drawn; null = as the service is set.")] = (
        None
    )
    seed: Annotated[
        Annotated[int, Meta(ge=0, le=2**63 - 1)] | None,
        Meta(description="Same seed, same draws; null = the seed comes from the request id."),
    ] = None


class Recommendation(Struct, frozen=True):
    """One recommended item."""

    rank: int
    item_id: str
    score: float
    title: str | None
    category_l1: str | None
    category_l2: str | None
    gender: str | None
    price: float | None
    image_url: str | None


class RecommendationResponse(Struct, frozen=True):
    """Ranked items, best first."""

    request_id: str
    user_id: str | None
    bundle_version: str
    degraded: Annotated[tuple[str, ...], Meta(description="Parts that were replaced or left out for this answer.")]
    recommendations: list[Recommendation]


class Item(Struct, frozen=True):
    """An item of the catalogue."""

    item_id: str
    title: str | None
    description: str | None
    category_l1: str | None
    category_l2: str | None
    gender: str | None
    price: float | None
    image_url: str | None
    launched_at: Annotated[int | None, Meta(description="Unix seconds; null = it was always there.")]
    available: Annotated[bool, Meta(description="Whether it is launched and not withdrawn.")]


class ItemQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which page of the catalogue."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 20
    offset: Annotated[int, Meta(ge=0)] = 0
    category_l1: Id | None = None
    category_l2: Id | None = None


class ItemPage(Struct, frozen=True):
    """Available items in the order of the catalogue."""

    total: Annotated[int, Meta(description="Items under the filter, on all pages.")]
    offset: int
    limit: int
    items: list[Item]


class BundleStatus(Struct, frozen=True):
    """The bundle that answers."""

    version: str
    shop: str
    created: str
    first_day: str
    last_day: str
    num_items: int
    missing: tuple[str, ...]
    warnings: tuple[str, ...]


class Status(Struct, frozen=True):
    """How the service does."""

    ready: bool
    bundle: BundleStatus
    placement: str
    now: Annotated[int, Meta(description="The clock's now, Unix seconds.")]
    stores: Annotated[dict[str, str], Meta(description="`ok`, or what is wrong, by store.")]
    degraded: Annotated[tuple[str, ...], Meta(description="Parts replaced or left out in the last minute.")]


class Ready(Struct, frozen=True):
    """The service answers with everything warmed up."""

    ready: bool


class ErrorBody(Struct, frozen=True):
    """What went wrong."""

    code: str
    message: str
    details: dict[str, Any] = {}


class ErrorResponse(Struct, frozen=True):
    """Every answer that is no success."""

    error: ErrorBody


_STRUCT_OF: Final[dict[str, type[Struct]]] = {"filters": Filters, "diversity": Diversity}
_INNER: Final = re.compile(r"at `\$\.(\w+)`")
_decoder = msgspec.json.Decoder(RecommendationRequest)
encode = msgspec.json.Encoder().encode


class MalformedError(RequestError):
    """The body is not JSON."""

    code = "malformed_json"
    http_status = 400


def decode_request(body: bytes) -> RecommendationRequest:
    """Parses and checks a request.

    Raises:
        MalformedError: not JSON.
        RequestError: unknown field, wrong type or value out of range; the message names the field.
    """
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _refused(error, RecommendationRequest) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"the body is not valid JSON: {error}") from None


def decode_query(parameters: dict[str, str]) -> ItemQuery:
    """Checks the query parameters of a catalogue page.

    Raises:
        RequestError: unknown parameter, wrong type or value out of range.
    """
    try:
        return msgspec.convert(parameters, ItemQuery, strict=False)
    except msgspec.ValidationError as error:
        raise _refused(error, ItemQuery) from None


def _refused(error: msgspec.ValidationError, struct: type[Struct]) -> RequestError:
    if "unknown field" in str(error):
        inner = _INNER.search(str(error))
        legal = list((_STRUCT_OF[inner[1]] if inner else struct).__struct_fields__)
        return RequestError(f"{error}; legal fields: {', '.join(legal)}", legal=legal)
    return RequestError(str(error))
