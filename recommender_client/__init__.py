"""A typed client of the HTTP API: `Client` and `AsyncClient`; needs httpx and msgspec, neither Ray nor torch."""

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
from serving.gateway.api import (
    Diversity,
    Filters,
    Item,
    ItemPage,
    ItemQuery,
    RankingRequest,
    RankingResponse,
    Recommendation,
    RecommendationRequest,
    RecommendationResponse,
    SimilarItems,
    SimilarQuery,
    Status,
)
from serving.gateway.api_events import InteractionEvent, InteractionsResponse, RefusedEvent

__all__ = [
    "ApiError",
    "AsyncClient",
    "BadAnswerError",
    "Client",
    "Diversity",
    "Filters",
    "ForbiddenError",
    "InteractionEvent",
    "InteractionsResponse",
    "Item",
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
]
