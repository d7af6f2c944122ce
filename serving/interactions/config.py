"""Settings of the consumer."""

from __future__ import annotations

from pydantic import Field, model_validator

from contracts.config import StrictConfig


class ConsumerConfig(StrictConfig):
    """Settings of the consumer of interactions."""

    enabled: bool = True
    """Whether the application has a consumer; without one, features and records get old and the stream grows."""
    batch_size: int = Field(default=1_000, ge=1)
    """Most entries of one read."""
    gather_ms: float = Field(default=20.0, ge=0, le=1_000)
    """Pause after a batch, so that the next one is larger."""
    flush_rows: int = Field(default=2_500, ge=1)
    """Number of events after which they are written to Parquet and acknowledged."""
    flush_interval_s: float = Field(default=5.0, gt=0)
    """Longest time until events are written to Parquet and acknowledged."""
    claim_after_s: float = Field(default=20.0, gt=0)
    """Entries of another consumer that has shown no sign of life for this long are taken over."""
    max_deliveries: int = Field(default=5, ge=4)
    """An entry that is delivered more often, because its consumers died, becomes a dead letter; it comes alone from its
    fourth delivery."""
    kept_dead_letters: int = Field(default=100_000, ge=1)
    """Most dead letters that are kept, the newest ones."""
    niceness: int = Field(default=10, ge=0, le=19)
    """Priority of the consumer as in `nice`: requests get the CPU first, features follow milliseconds later."""
    stuck_after_s: float = Field(default=60.0, gt=0)
    """A consumer that shows no sign of life for this long is unhealthy and restarted."""

    @model_validator(mode="after")
    def _claims_are_later_than_flushes(self) -> ConsumerConfig:
        if self.claim_after_s < 2 * self.flush_interval_s:
            raise ValueError(
                f"claim_after_s={self.claim_after_s:g} is below twice flush_interval_s={self.flush_interval_s:g}: "
                "consumers would take entries from each other; raise claim_after_s or lower flush_interval_s"
            )
        return self
