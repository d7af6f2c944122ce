"""Request and answer of the plain FastAPI peer."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Question(BaseModel):
    """Who asks, from where, and for how many items."""

    user_id: str | None = None
    session_id: str | None = None
    recent_items: list[str] = []
    device_type: str | None = None
    timestamp: int | None = None
    k: int = Field(default=10, ge=1, le=100)


class Item(BaseModel):
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


class Answer(BaseModel):
    """Ranked items, best first."""

    user_id: str | None
    bundle_version: str
    degraded: list[str]
    recommendations: list[Item]
