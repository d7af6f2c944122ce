"""Settings of the queue."""

from __future__ import annotations

from pydantic import Field, model_validator

from contracts.config import StrictConfig


class BatcherConfig(StrictConfig):
    """How requests gather, and how many may wait."""

    max_batch_size: int = Field(default=32, ge=1, le=256)
    """Requests of one batch."""
    max_wait_ms: float = Field(default=2.0, ge=0)
    """Longest that a request waits for others while a batch runs and another could start."""
    max_running_batches: int = Field(default=1, ge=1)
    """Batches under way at once; more than one help where stages run in different deployments or stores are far."""
    max_queued: int = Field(default=128, ge=1)
    """Requests that may wait; more are refused with 429."""
    max_queue_ms: float | None = Field(default=None, gt=0)
    """A request that might wait longer than this is refused with 429; unset = a quarter of the budget."""
    max_batch_ms: float | None = Field(default=None, gt=0)
    """While batches take longer than this, fewer of them are under way at once; unset = half of the budget."""
    retry_after_s: int = Field(default=1, ge=1)
    """What a refused client is told to wait."""

    @model_validator(mode="after")
    def _queue_holds_a_batch(self) -> BatcherConfig:
        if self.max_queued < self.max_batch_size:
            raise ValueError(
                f"max_queued={self.max_queued} is below max_batch_size={self.max_batch_size}; no batch could fill"
            )
        return self


class RefusalConfig(StrictConfig):
    """How refusals for overload are spread."""

    per_s: float = Field(default=100.0, gt=0)
    """Refusals a second; further ones are held back until it is their turn."""
    max_held: int = Field(default=256, ge=0)
    """Most that are held back; the rest is answered at once."""
