"""What clients send and get, once: structs that validate requests, write responses and describe the API."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from contracts.raw_ids import ID_PATTERN, MAX_ID_CHARS

MAX_K: Final = 100
MAX_RECENT_ITEMS: Final = 100
MAX_EXCLUDED: Final = 1_000
MAX_CANDIDATES: Final = 1_000
MAX_NAMES: Final = 100
MAX_PAGE: Final = 100
MAX_TEXT: Final = 100
MAX_BODY_BYTES: Final = 4_096 + (MAX_CANDIDATES + MAX_EXCLUDED + MAX_RECENT_ITEMS + 3 * MAX_NAMES + 3) * (
    4 * MAX_ID_CHARS + 3
)
"""Room for the longest request that the fields below allow: every list full of the longest ids, in UTF-8."""

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS, pattern=ID_PATTERN)]
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


class _Visit(Struct, frozen=True, forbid_unknown_fields=True):
    """Who asks, from where, and for which items; everything is optional."""

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
    explain: Annotated[bool, Meta(description="Whether the answer tells how it came about.")] = False


class RecommendationRequest(_Visit, frozen=True, forbid_unknown_fields=True):
    """Who asks, from where, for how many items and which; everything is optional."""

    k: Annotated[int, Meta(ge=1, le=MAX_K, description="Items wanted.")] = 10


class RankingRequest(_Visit, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Given items to score and rank for a visitor; seen ones are ranked as well."""

    candidate_ids: Annotated[
        list[Id], Meta(min_length=1, max_length=MAX_CANDIDATES, description="Items to rank; each counts once.")
    ]
    k: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_CANDIDATES)] | None, Meta(description="Items wanted; null = all.")
    ] = None


class ItemExplanation(Struct, frozen=True):
    """How one item came to its place."""

    source: Annotated[
        Literal["retrieval", "popular", "given"],
        Meta(description="Where it came from; popular items stand in for a retrieval that did not answer."),
    ]
    retrieval_rank: int
    retrieval_score: Annotated[float | None, Meta(description="Null where retrieval did not answer.")]
    filters: Annotated[
        dict[str, Literal["kept", "not_asked", "left_out"]],
        Meta(description="Verdict of each filter; `left_out` = the filter did not answer."),
    ]
    ranking_rank: Annotated[int, Meta(description="Its place by score, before reranking.")]
    ranking_score: Annotated[float | None, Meta(description="Null where the ranker did not answer.")]
    rerank_move: Annotated[int, Meta(description="Places that reranking moved it up.")]
    propensity: Annotated[
        float, Meta(description="Probability of the pick, given those above it; 1 where nothing was left to chance.")
    ]


class Explanation(Struct, frozen=True):
    """How an answer came about."""

    num_retrieved: int
    removed: Annotated[dict[str, int], Meta(description="Retrieved items that a filter took out, by filter.")]
    num_ranked: int
    seed: Annotated[int | None, Meta(description="Seed of the draws; null = nothing was left to chance.")]
    stage_ms: Annotated[dict[str, float], Meta(description="Milliseconds of each stage for the whole batch.")]


class Recommendation(Struct, frozen=True, omit_defaults=True):
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
    explanation: Annotated[ItemExplanation | None, Meta(description="Only where it was asked for.")] = None


class RecommendationResponse(Struct, frozen=True, omit_defaults=True):
    """Ranked items, best first."""

    request_id: Annotated[str, Meta(description="Events that follow from this answer name it.")]
    user_id: str | None
    bundle_version: str
    degraded: Annotated[tuple[str, ...], Meta(description="Parts that were replaced or left out for this answer.")]
    recommendations: list[Recommendation]
    explanation: Annotated[Explanation | None, Meta(description="Only where it was asked for.")] = None


class RankingResponse(Struct, frozen=True, omit_defaults=True):
    """Given items, best first."""

    request_id: Annotated[str, Meta(description="Events that follow from this answer name it.")]
    user_id: str | None
    bundle_version: str
    degraded: Annotated[tuple[str, ...], Meta(description="Parts that were replaced or left out for this answer.")]
    rankings: list[Recommendation]
    unknown: Annotated[list[str], Meta(description="Given ids that the catalogue does not have.")]
    ineligible: Annotated[
        list[str], Meta(description="Given items that are not launched, withdrawn, excluded or outside of the filters.")
    ]
    explanation: Annotated[Explanation | None, Meta(description="Only where it was asked for.")] = None


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
    text: Annotated[
        Annotated[str, Meta(max_length=MAX_TEXT)] | None,
        Meta(description="Up to 8 words that the title contains, all of them, in upper or lower case."),
    ] = None
    min_price: Annotated[Price | None, Meta(description="Lowest price, itself included; items must have one.")] = None
    max_price: Annotated[Price | None, Meta(description="Highest price, itself included; items must have one.")] = None


class SimilarQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """How many neighbours."""

    k: Annotated[int, Meta(ge=1, le=MAX_K)] = 10


class SimilarItems(Struct, frozen=True):
    """Available items, most alike first; the score is the cosine in the space of candidate embeddings."""

    item_id: str
    bundle_version: str
    items: list[Recommendation]


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
    timezone: Annotated[str, Meta(description="The shop's (IANA): hours, weekdays and days are its own.")]
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
    interactions: Annotated[
        str, Meta(description="`ok`, or the code of the error with which the store refused events in the last minute.")
    ]


class ErrorBody(Struct, frozen=True):
    """What went wrong."""

    code: str
    message: str
    details: dict[str, Any] = {}


class ErrorResponse(Struct, frozen=True):
    """Every answer that is no success."""

    error: ErrorBody


encode = msgspec.json.Encoder().encode
