"""Settings of records: events and shown lists."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from contracts.config import StrictConfig
from serving.gateway.queue.config import BatcherConfig


class ImpressionConfig(StrictConfig):
    """How shown lists are recorded."""

    enabled: bool = True
    """Whether they are recorded."""
    arm: str = Field(default="production", min_length=1)
    """Name of this arm of an experiment, in every row."""
    flush_interval_s: float = Field(default=10.0, gt=0)
    """Seconds between files; a gateway that is killed loses its buffer."""
    max_rows: int = Field(default=200_000, ge=1_000)
    """Most rows that wait for a slow disk; more are lost and counted."""


class QuotaConfig(StrictConfig):
    """Limits of events per visitor and sender, so that nobody fills the stores.

    Each gateway counts for itself, in memory: n gateways accept up to n times as many.
    """

    events_per_min: float = Field(default=60.0, gt=0)
    """Events a minute of one user or session, on average."""
    events_at_once: int = Field(default=600, ge=1)
    """Largest burst of one user or session."""
    visitors_per_address_h: int | None = Field(default=20_000, ge=1)
    """New users and sessions an hour from one client address (for IPv6 one /64 network); unset = no limit. Addresses of
    `gateway.proxies`, with loopback, are not counted, because many clients may be behind them."""
    visitors_per_caller_h: int | None = Field(default=None, ge=1)
    """New users and sessions an hour from one caller: `name` of an API key or `sub` of a token; unset = no limit."""
    callers: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Limits for callers by name, which replace both limits above: a shop's backend sends events of all visitors."""
    max_tracked: int = Field(default=200_000, ge=1_000)
    """Visitors that a gateway remembers; beyond that, the oldest ones count as new again."""


class InteractionBatcherConfig(BatcherConfig):
    """Batching of requests with events; one writer at a time, so that a gateway has no conflicts with itself."""

    max_batch_size: int = Field(default=2, ge=1, le=256)
    """Most requests of one batch, whose computation delays recommendations of this gateway."""
    max_queue_ms: float | None = Field(default=500, gt=0)
    """A request that is expected to wait longer is refused with 429; unset = no limit."""
    max_batch_ms: float | None = Field(default=None, gt=0)
    """While batches take longer, fewer of them run at once; unset = no limit."""


class InteractionConfig(StrictConfig):
    """Which events are accepted, and how they are written."""

    max_future_s: int = Field(default=300, ge=0)
    """Seconds that a client's clock may be ahead: such events count as of now; later ones are refused."""
    batch: InteractionBatcherConfig = InteractionBatcherConfig()
    """Batching of requests with events."""
    quotas: QuotaConfig = QuotaConfig()
    """Limits of events per visitor and sender."""
    yield_ms: float = Field(default=50, ge=0)
    """Longest time for events to wait for running recommendations, which share a core with them."""
