"""Settings of answers: what they may cost, and whose lists are drawn to learn from."""

from __future__ import annotations

from pydantic import Field, model_validator

from contracts.config import StrictConfig
from serving.gateway.queue.config import BatcherConfig, RefusalConfig


class ServiceConfig(StrictConfig):
    """What a request may cost."""

    budget_ms: float = Field(default=100.0, gt=0)
    """Milliseconds from arrival to answer; stages that would take longer are replaced or left out."""
    batch: BatcherConfig = BatcherConfig()
    """How requests gather."""
    refusals: RefusalConfig = RefusalConfig()
    """How those that are too many are sent away."""

    @model_validator(mode="after")
    def _a_request_may_wait_and_be_answered(self) -> ServiceConfig:
        longest_ms = self.batch.max_queue_ms
        if longest_ms is not None and longest_ms >= self.budget_ms:
            raise ValueError(
                f"batch.max_queue_ms={longest_ms:g} leaves nothing of budget_ms={self.budget_ms:g}; "
                "lower the one or raise the other"
            )
        return self

    @property
    def batching(self) -> BatcherConfig:
        """How requests gather, with what follows from the budget filled in.

        Waiting may take a quarter of it: a full batch then still has time, and reading requests and sending
        answers, which no clock here sees, take some, too.
        """
        limits = {"max_queue_ms": self.budget_ms / 4, "max_batch_ms": self.budget_ms / 2}
        return self.batch.model_copy(update={name: getattr(self.batch, name) or ms for name, ms in limits.items()})


class ExplorationConfig(StrictConfig):
    """Who explores, and how their lists are drawn."""

    share: float = Field(default=0.0, ge=0, le=1)
    """Share of the visitors who explore, always the same ones; 0 = nobody."""
    salt: str = Field(default="exploration", min_length=1)
    """Decides which visitors; another salt for a canary or an A/B test picks others, independently."""
    temperature: float = Field(default=1.0, ge=0.0001)
    """Divisor of the logits that picks are drawn by."""
    epsilon: float = Field(default=0.05, ge=0, le=1)
    """Share of uniform draws among all ranked items: no item's propensity is below epsilon / their number."""
