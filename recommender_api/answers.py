"""Answers: msgspec structs, also the source of their JSON schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct


class ItemExplanation(Struct, frozen=True):
    """How an item got its place."""

    source: Annotated[
        Literal["retrieval", "popular", "given"],
        Meta(description="Its source; `popular` = the fallback of retrieval, `given` = provided by the request."),
    ]
    retrieval_rank: int
    retrieval_score: Annotated[float | None, Meta(description="Null where retrieval did not answer.")]
    filters: Annotated[
        dict[str, Literal["kept", "not_asked", "left_out"]],
        Meta(description="Verdict of each filter; `left_out` = the filter did not answer."),
    ]
    ranking_rank: Annotated[int, Meta(description="Rank by score, before reranking.")]
    ranking_score: Annotated[float | None, Meta(description="Null where the ranker did not answer.")]
    rerank_move: Annotated[int, Meta(description="Places that reranking moved it up; negative = down.")]
    propensity: Annotated[
        float,
        Meta(description="Probability of the pick, given those above it; 1 if the list is not random."),
    ]


class Explanation(Struct, frozen=True):
    """How an answer was made."""

    num_retrieved: int
    removed: Annotated[dict[str, int], Meta(description="Retrieved items that were removed, by filter.")]
    num_ranked: int
    seed: Annotated[int | None, Meta(description="Seed of the draws; null = the list is not random.")]
    stage_ms: Annotated[dict[str, float], Meta(description="Milliseconds of each stage for the whole batch.")]


Attributes = dict[str, str | float | list[str]]
"""Values of an item in the shop's declared columns, by name."""


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
    attributes: Annotated[Attributes, Meta(description="Columns that the shop shows; only those that it has.")] = {}


class RecommendationResponse(Struct, frozen=True, omit_defaults=True):
    """Ranked items, best first."""

    request_id: Annotated[str, Meta(description="Events that follow from this answer name it.")]
    user_id: str | None
    bundle_version: str
    degraded: Annotated[tuple[str, ...], Meta(description="Parts that were replaced or left out in this answer.")]
    recommendations: list[Recommendation]
    explanation: Annotated[Explanation | None, Meta(description="Only where it was asked for.")] = None


class RankingResponse(Struct, frozen=True, omit_defaults=True):
    """Provided items, best first."""

    request_id: Annotated[str, Meta(description="Events that follow from this answer name it.")]
    user_id: str | None
    bundle_version: str
    degraded: Annotated[tuple[str, ...], Meta(description="Parts that were replaced or left out in this answer.")]
    rankings: list[Recommendation]
    unknown: Annotated[list[str], Meta(description="Provided ids that the catalogue does not have.")]
    ineligible: Annotated[
        list[str],
        Meta(description="Provided items that are not available, are excluded, or do not match the filters."),
    ]
    explanation: Annotated[Explanation | None, Meta(description="Only where it was asked for.")] = None


class Item(Struct, frozen=True, omit_defaults=True):
    """An item of the catalogue."""

    item_id: str
    title: str | None
    description: str | None
    category_l1: str | None
    category_l2: str | None
    gender: str | None
    price: float | None
    image_url: str | None
    launched_at: Annotated[int | None, Meta(description="Unix seconds; null = always there.")]
    available: Annotated[bool, Meta(description="Whether it is launched and not withdrawn.")]
    attributes: Annotated[Attributes, Meta(description="Columns that the shop shows; only those that it has.")] = {}


class SimilarItems(Struct, frozen=True):
    """Available items, most similar first; scores are cosines of candidate embeddings."""

    item_id: str
    bundle_version: str
    items: list[Recommendation]


class ItemPage(Struct, frozen=True):
    """Available items in the order of the catalogue."""

    total: Annotated[int, Meta(description="Items that match the query, on all pages.")]
    offset: int
    limit: int
    items: list[Item]


class Picture(NamedTuple):
    """An item's picture: its bytes, not JSON."""

    content: bytes
    media_type: str


class BundleStatus(Struct, frozen=True):
    """The bundle in use."""

    version: str
    shop: str
    created: str
    first_day: str
    last_day: str
    timezone: Annotated[str, Meta(description="The shop's, IANA; defines hours, weekdays and days.")]
    num_items: int
    missing: tuple[str, ...]
    warnings: tuple[str, ...]


class Status(Struct, frozen=True):
    """State of the service."""

    ready: bool
    bundle: BundleStatus
    placement: str
    now: Annotated[int, Meta(description="Current time of the clock, Unix seconds.")]
    stores: Annotated[dict[str, str], Meta(description="`ok`, or what is wrong, by store.")]
    degraded: Annotated[tuple[str, ...], Meta(description="Parts that were replaced or left out in the last minute.")]


class Ready(Struct, frozen=True):
    """Readiness: the service is warmed up."""

    ready: bool
    interactions: Annotated[
        str, Meta(description="`ok`, or the error code with which the store refused events in the last minute.")
    ]


class ErrorBody(Struct, frozen=True):
    """An error."""

    code: str
    message: str
    details: dict[str, Any] = {}


class ErrorResponse(Struct, frozen=True):
    """Body of every answer that is not a success."""

    error: ErrorBody


encode = msgspec.json.Encoder().encode
