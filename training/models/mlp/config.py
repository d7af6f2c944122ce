"""The shape of the MLP ranker, and which inputs it reads."""

from __future__ import annotations

from pydantic import Field

from contracts.config import StrictConfig


class MLPConfig(StrictConfig):
    """An MLP over the retrieval score and inputs of each query and item; all are read unless switched off."""

    hidden_dims: tuple[int, ...] = Field(default=(64, 32), min_length=1)
    """Hidden layers."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout after the hidden layers."""
    history_length: int = Field(default=64, ge=0)
    """Last interactions that the inputs are computed from; 0 for none."""
    history_days: int = Field(default=30, ge=1)
    """Interactions older than this are not read."""
    retrieval_score: bool = True
    """Whether the retrieval score is an input, also added to the logit with a weight that starts at 1."""
    item_age: bool = True
    """Whether the item's age at the time of the request is an input."""
    popularity: bool = False
    """Whether the item's popularity at the start of the request's day is an input: decayed counts of interactions."""
    last_item: bool = True
    """Whether inputs compare the item with the last one: categories, numbers, content; each also only while the last
    item's session goes on."""
    history: bool = True
    """Whether inputs compare the item with the history: share of its categories, distance to the mean of its numbers,
    cosine to the mean of its content."""
    repeats: bool = True
    """Whether the item's number in the history and its presence in this session are inputs."""
    within: str | None = "category_l2"
    """Categorical feature of the items: content is also compared after its category's mean was subtracted. Null, or a
    feature that the shop lacks: only plain content."""
    crosses: tuple[tuple[str, str], ...] = (("gender", "item_gender"),)
    """Pairs of a query's and an item's categorical feature: each pair of their values has a weight. Features that the
    shop lacks are left out."""
    counts: bool = True
    """Whether the item's events a day, up to the last training day, are an input."""
    num_following: int = Field(default=64, ge=0)
    """How many of the items that most often follow an item in a session are counted: how much more often than usual the
    item follows the last one is an input. 0 leaves it out."""
