"""Settings of answers: their budget, and who explores."""

from __future__ import annotations

from pydantic import Field, model_validator

from contracts.config import StrictConfig
from serving.gateway.queue.config import BatcherConfig, RefusalConfig


class ServiceConfig(StrictConfig):
    """Budget and batching of requests."""

    budget_ms: float = Field(default=100.0, gt=0)
    """Milliseconds from arrival to answer; stages that would take longer are replaced or left out."""
    batch: BatcherConfig = BatcherConfig()
    """How requests gather in batches."""
    refusals: RefusalConfig = RefusalConfig()
    """How requests are refused under overload."""

    @model_validator(mode="after")
    def _a_request_may_wait_and_be_answered(self) -> ServiceConfig:
        longest_ms = self.batch.max_queue_ms
        if longest_ms is not None and longest_ms >= self.budget_ms:
            raise ValueError(
                f"batch.max_queue_ms={longest_ms:g} leaves nothing of budget_ms={self.budget_ms:g}; "
                "lower max_queue_ms or raise budget_ms"
            )
        return self

    @property
    def batching(self) -> BatcherConfig:
        """Batching, with what is unset derived from the budget.

        Waiting may take a quarter of it, which leaves time for a full batch, and for reading the request and sending
        the answer, which are not measured here.
        """
        derived = {"max_queue_ms": self.budget_ms / 4, "max_batch_ms": self.budget_ms / 2}
        return self.batch.model_copy(update={name: getattr(self.batch, name) or ms for name, ms in derived.items()})


class ExplorationConfig(StrictConfig):
    """Who explores, and how their lists are sampled."""

    share: float = Field(default=0.0, ge=0, le=1)
    """Share of the visitors who explore, always the same ones; 0 = nobody."""
    salt: str = Field(default="exploration", min_length=1)
    """Decides which visitors explore; another salt, for a canary or an A/B test, picks others independently."""
    temperature: float = Field(default=1.0, ge=0.0001)
    """Divisor of the logits in the softmax that items are sampled from."""
    epsilon: float = Field(default=0.05, ge=0, le=1)
    """Share of uniform picks among the n ranked items: no propensity is below epsilon / n."""
