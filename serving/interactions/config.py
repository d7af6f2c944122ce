"""Settings of the consumer."""

from __future__ import annotations

from pydantic import Field, model_validator

from contracts.config import StrictConfig


class ConsumerConfig(StrictConfig):
    """How the stream of interactions is read."""

    enabled: bool = True
    """Whether the application has a consumer; without one features and records stand still and the stream grows."""
    batch_size: int = Field(default=1_000, ge=1)
    """Entries read at once."""
    gather_ms: float = Field(default=20.0, ge=0, le=1_000)
    """Pause after a batch, so that the next one is worth its round trips."""
    flush_rows: int = Field(default=2_500, ge=1)
    """Events that are written to Parquet at the latest, and acknowledged then."""
    flush_interval_s: float = Field(default=5.0, gt=0)
    """Seconds after which events are written to Parquet at the latest."""
    claim_after_s: float = Field(default=20.0, gt=0)
    """Entries that another consumer has held this long without a sign of life are taken over."""
    max_deliveries: int = Field(default=5, ge=4)
    """An entry that was handed out more often, because its consumers died, becomes a dead letter; from the fourth time
    on it is handed out alone."""
    kept_dead_letters: int = Field(default=100_000, ge=1)
    """Dead letters beyond this push the oldest ones out."""
    niceness: int = Field(default=10, ge=0, le=19)
    """How far the consumer steps back behind requests where both want a CPU, as `nice` counts it; features follow some
    milliseconds later then."""
    stuck_after_s: float = Field(default=60.0, gt=0)
    """A consumer that shows no sign of life for this long is unhealthy and started anew."""

    @model_validator(mode="after")
    def _claims_are_later_than_flushes(self) -> ConsumerConfig:
        if self.claim_after_s < 2 * self.flush_interval_s:
            raise ValueError(
                f"claim_after_s={self.claim_after_s:g} is below twice flush_interval_s={self.flush_interval_s:g}: "
                "consumers would take entries from each other; raise the one or lower the other"
            )
        return self
