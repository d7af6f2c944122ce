"""Requests: msgspec structs that validate them, also the source of their JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import Meta, Struct

from recommender_api.values import ID_PATTERN, MAX_ID_CHARS

MAX_K: Final = 100
MAX_RECENT_ITEMS: Final = 100
MAX_EXCLUDED: Final = 1_000
MAX_CANDIDATES: Final = 1_000
MAX_NAMES: Final = 100
MAX_CONTEXT: Final = 50
"""Most values of a context, and of each list of names in it."""
MAX_PAGE: Final = 100
MAX_TEXT: Final = 100
MAX_BUDGET_MS: Final = 60_000
MAX_BODY_BYTES: Final = 4_096 + (MAX_CANDIDATES + MAX_EXCLUDED + MAX_RECENT_ITEMS + 3 * MAX_NAMES + 3) * (
    4 * MAX_ID_CHARS + 3
)
"""Size of the longest request without declared columns: all lists full of the longest ids, in UTF-8. Requests with
declared columns have the same limit."""

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS, pattern=ID_PATTERN)]
Names = Annotated[list[Id], Meta(min_length=1, max_length=MAX_NAMES)]
Price = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Cap = Annotated[int, Meta(ge=1, le=MAX_K)]


ContextValue = str | float | bool | list[str | float] | None
"""A category, a number, or a list of categories or numbers."""
Context = Annotated[
    dict[Id, ContextValue],
    Meta(max_length=MAX_CONTEXT, description="Values of the context columns that the shop declares, by name."),
]


class NumberRange(Struct, frozen=True, forbid_unknown_fields=True):
    """A range; items without a number do not match."""

    min: Annotated[float | None, Meta(description="Lowest number, included.")] = None
    max: Annotated[float | None, Meta(description="Highest number, included.")] = None


class Filters(Struct, frozen=True, forbid_unknown_fields=True):
    """Filters on items; all given fields must match."""

    category_l1: Annotated[Names | None, Meta(description="One of these; unknown ones are refused.")] = None
    category_l2: Annotated[Names | None, Meta(description="One of these; unknown ones are refused.")] = None
    gender: Annotated[
        Names | None, Meta(description="The item's gender is one of these; unknown ones are refused.")
    ] = None
    min_price: Annotated[Price | None, Meta(description="Lowest price, included; the item must have one.")] = None
    max_price: Annotated[Price | None, Meta(description="Highest price, included; the item must have one.")] = None


if TYPE_CHECKING:
    AnyFilters = Filters | Mapping[str, list[str] | Mapping[str, float] | NumberRange | float]
    """`Filters`, or a mapping that may also name declared columns."""
else:
    AnyFilters = Filters  # the service checks declared columns by the types of its shop, see `recommender_api.shop`


class Diversity(Struct, frozen=True, forbid_unknown_fields=True):
    """Reranking options; missing fields take the service's defaults."""

    order: Annotated[
        Literal["greedy", "sampled", "weighted"] | None,
        Meta(
            description="greedy: highest score first. sampled: without replacement by softmax(logit / temperature). "
            "weighted: by softmax(score / temperature) among the 100 best."
        ),
    ] = None
    temperature: Annotated[
        Annotated[float, Meta(ge=0.0001, le=1_000)] | None,
        Meta(description="Divisor of logits or scores; higher values make draws more uniform."),
    ] = None
    epsilon: Annotated[Share | None, Meta(description="Share of uniform draws among all ranked items.")] = None
    mmr: Annotated[
        Annotated[float, Meta(ge=0, lt=1)] | None,
        Meta(description="Weight of similarity to the items above, against relevance (maximal marginal relevance)."),
    ] = None
    max_per_category_l1: Annotated[Cap | None, Meta(description="Most items of one category.")] = None
    max_per_category_l2: Annotated[Cap | None, Meta(description="Most items of one finer category.")] = None


class Visit(Struct, frozen=True, forbid_unknown_fields=True):
    """Visitor, context and options; all fields are optional."""

    user_id: Annotated[Id | None, Meta(description="The shop's user id; may be unknown or missing.")] = None
    session_id: Annotated[Id | None, Meta(description="Owner of the history when there is no user id.")] = None
    recent_items: Annotated[
        list[Id],
        Meta(
            max_length=MAX_RECENT_ITEMS,
            description="Ids of the visitor's latest items, newest last; extends the stored history.",
        ),
    ] = []
    device_type: Annotated[Id | None, Meta(description="For example mobile, desktop or tablet.")] = None
    timestamp: Annotated[int | None, Meta(description="Unix seconds, for hour and weekday; missing or 0 = now.")] = None
    context: Annotated[
        Context | None, Meta(description="Values of declared context columns, by name; null = unknown.")
    ] = None
    exclude: Annotated[
        list[Id], Meta(max_length=MAX_EXCLUDED, description="Ids of items to leave out; unknown ids are ignored.")
    ] = []
    filters: Annotated[AnyFilters | None, Meta(description="Filters on items; null = all items.")] = None
    diversity: Annotated[Diversity | None, Meta(description="Reranking options; null = the service's defaults.")] = None
    seed: Annotated[
        Annotated[int, Meta(ge=0, le=2**63 - 1)] | None,
        Meta(description="The same seed gives the same draws; null = derived from the request id."),
    ] = None
    explain: Annotated[bool, Meta(description="Whether to explain the answer.")] = False


class RecommendationRequest(Visit, frozen=True, forbid_unknown_fields=True):
    """A request for recommendations; all fields are optional."""

    k: Annotated[int, Meta(ge=1, le=MAX_K, description="Items wanted.")] = 10


class RankingRequest(Visit, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Items to score and rank for a visitor, including seen ones."""

    candidate_ids: Annotated[
        list[Id], Meta(min_length=1, max_length=MAX_CANDIDATES, description="Ids of items to rank; repeats count once.")
    ]
    k: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_CANDIDATES)] | None, Meta(description="Items wanted; null = all.")
    ] = None


class ItemQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """A page of the catalogue."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 20
    offset: Annotated[int, Meta(ge=0)] = 0
    category_l1: Id | None = None
    category_l2: Id | None = None
    text: Annotated[
        Annotated[str, Meta(max_length=MAX_TEXT)] | None,
        Meta(description="Up to 8 words; the title must contain all of them, in any case."),
    ] = None
    min_price: Annotated[Price | None, Meta(description="Lowest price, included; the item must have one.")] = None
    max_price: Annotated[Price | None, Meta(description="Highest price, included; the item must have one.")] = None


class SimilarQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """A query for similar items."""

    k: Annotated[int, Meta(ge=1, le=MAX_K)] = 10
