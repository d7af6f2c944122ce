"""Typed client of the HTTP API: `Client` and `AsyncClient`. Needs httpx and msgspec, but neither Ray nor torch."""

from recommender_api.answers import (
    Explanation,
    Item,
    ItemExplanation,
    ItemPage,
    RankingResponse,
    Recommendation,
    RecommendationResponse,
    SimilarItems,
    Status,
)
from recommender_api.interactions import (
    ErasedUser,
    FlushedSeen,
    InteractionEvent,
    InteractionsResponse,
    RefusedEvent,
    UserData,
)
from recommender_api.requests import Diversity, Filters, ItemQuery, RankingRequest, RecommendationRequest, SimilarQuery
from recommender_client.clients import AsyncClient, Client
from recommender_client.errors import (
    ApiError,
    BadAnswerError,
    ForbiddenError,
    NoConnectionError,
    NotFoundError,
    OverloadedError,
    RefusedError,
    UnauthenticatedError,
    UnavailableError,
)
from recommender_client.retry import Retry

__all__ = [
    "ApiError",
    "AsyncClient",
    "BadAnswerError",
    "Client",
    "Diversity",
    "ErasedUser",
    "Explanation",
    "Filters",
    "FlushedSeen",
    "ForbiddenError",
    "InteractionEvent",
    "InteractionsResponse",
    "Item",
    "ItemExplanation",
    "ItemPage",
    "ItemQuery",
    "NoConnectionError",
    "NotFoundError",
    "OverloadedError",
    "RankingRequest",
    "RankingResponse",
    "Recommendation",
    "RecommendationRequest",
    "RecommendationResponse",
    "RefusedError",
    "RefusedEvent",
    "Retry",
    "SimilarItems",
    "SimilarQuery",
    "Status",
    "UnauthenticatedError",
    "UnavailableError",
    "UserData",
]
