"""Settings of the stages."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contracts.config import StrictConfig


class RetrievalConfig(StrictConfig):
    """Settings of retrieval."""

    retrieval_k: int = Field(default=300, ge=1, le=10_000)
    """Candidates of a request; not fewer than the largest k that a request may ask for."""


class RerankingConfig(StrictConfig):
    """Default reranking options."""

    order: Literal["greedy", "sampled", "weighted"] = "greedy"
    """`greedy`: highest score first; `sampled`: without replacement by softmax(logit / temperature); `weighted`: as the
    reference, by softmax(score / temperature) among the 100 best."""
    temperature: float | None = Field(default=None, ge=0.0001)
    """Divisor of logits or scores; unset = 1 for `sampled`, 0.05 for `weighted`."""
    epsilon: float = Field(default=0.0, ge=0, le=1)
    """Share of uniform picks among all ranked items; not for `greedy`."""
    mmr: float = Field(default=0.0, ge=0, lt=1)
    """Maximal marginal relevance: weight of similarity to earlier picks; 0 = relevance alone."""
    max_per_category_l1: int | None = Field(default=None, ge=1)
    """Most items of one category in a list; unset = no limit. Items without a category are not limited."""
    max_per_category_l2: int | None = Field(default=None, ge=1)
    """The same for the finer categories."""
