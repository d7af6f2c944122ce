"""Settings of the pipeline."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contracts.config import StrictConfig

Replaceable = Literal["fail", "fallback"]
Skippable = Literal["fail", "skip"]


class OnError(StrictConfig):
    """Policies for stages that fail or are late: `fail` the request, `skip` the stage, or use its `fallback`."""

    query_features: Replaceable = "fallback"
    """Fallback: the visitor is anonymous; the request's own context and recent items still count."""
    retrieval: Replaceable = "fallback"
    """Fallback: popular items, most popular first; ranking is skipped."""
    seen_filter: Skippable = "skip"
    """Skip: nothing is filtered."""
    ranking: Skippable = "skip"
    """Skip: the order of retrieval."""
    reranking: Replaceable = "fallback"
    """Fallback: the gateway reranks itself."""


class PipelineConfig(StrictConfig):
    """Policies and budget shares of the pipeline."""

    on_error: OnError = OnError()
    """Policies for stages that fail or are late."""
    store_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the budget for the stores; the models need the rest."""
    reserve_ms: float = Field(default=10.0, ge=0)
    """Part of the budget that is reserved for reranking and the answer."""
