"""Settings of the queue."""

from __future__ import annotations

from pydantic import Field, model_validator

from contracts.config import StrictConfig


class BatcherConfig(StrictConfig):
    """Sizes of batches and limits of waiting."""

    max_batch_size: int = Field(default=32, ge=1, le=256)
    """Most requests of one batch."""
    max_wait_ms: float = Field(default=2.0, ge=0)
    """Longest wait for more requests while a batch runs and another one may start."""
    max_running_batches: int = Field(default=1, ge=1)
    """Batches that run at once; more than one help if stages run in other deployments or stores are far."""
    max_queued: int = Field(default=128, ge=1)
    """Most requests that wait; more are refused with 429."""
    max_queue_ms: float | None = Field(default=None, gt=0)
    """A request that is expected to wait longer is refused with 429; unset = a quarter of the budget."""
    max_batch_ms: float | None = Field(default=None, gt=0)
    """While batches take longer, fewer of them run at once; unset = half of the budget."""
    retry_after_s: int = Field(default=1, ge=1)
    """The Retry-After of a refused request, in seconds."""

    @model_validator(mode="after")
    def _queue_holds_a_batch(self) -> BatcherConfig:
        if self.max_queued < self.max_batch_size:
            raise ValueError(
                f"max_queued={self.max_queued} is below max_batch_size={self.max_batch_size}; no batch could fill"
            )
        return self


class RefusalConfig(StrictConfig):
    """Pace of refusals under overload."""

    per_s: float = Field(default=100.0, gt=0)
    """Most refusals a second; further ones wait for their turn."""
    max_held: int = Field(default=256, ge=0)
    """Most refusals that wait; the others are sent at once."""
