"""Settings of what is recorded: events and what was shown."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from contracts.config import StrictConfig
from serving.gateway.queue.config import BatcherConfig


class ImpressionConfig(StrictConfig):
    """How what was shown is recorded."""

    enabled: bool = True
    """Whether it is recorded at all."""
    arm: str = Field(default="production", min_length=1)
    """Name of this side of an experiment, in every row."""
    flush_interval_s: float = Field(default=10.0, gt=0)
    """Seconds between files; what is in the buffer when a gateway is killed is lost."""
    max_rows: int = Field(default=200_000, ge=1_000)
    """Rows that may wait for a slow disk; more are lost, and counted."""


class QuotaConfig(StrictConfig):
    """How many events are taken of whom, so that nobody fills the stores.

    Every gateway counts for itself and forgets when it ends: a server with n of them takes up to n times as many.
    """

    events_per_min: float = Field(default=60.0, gt=0)
    """Events of one user or session that are taken each minute, on average."""
    events_at_once: int = Field(default=600, ge=1)
    """Events of one user or session that are taken at once, when it had none before."""
    visitors_per_address_h: int | None = Field(default=20_000, ge=1)
    """New users and sessions that events from one client address may bring within an hour (of IPv6 one /64 network);
    unset = any number. `gateway.proxies`, loopback among them, are not counted: everybody may stand behind them."""
    visitors_per_caller_h: int | None = Field(default=None, ge=1)
    """New users and sessions that events of one caller, an API key's `name` or a token's `sub`, may bring within an
    hour; unset = any number."""
    callers: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """The same for callers by name, in place of both bounds above: a shop's own backend brings all visitors."""
    max_tracked: int = Field(default=200_000, ge=1_000)
    """Visitors that a gateway remembers; with more, the ones that it met longest ago count as new again."""


class InteractionBatcherConfig(BatcherConfig):
    """How requests with events gather; one writer at a time means that a gateway never disturbs itself."""

    max_batch_size: int = Field(default=2, ge=1, le=256)
    """Requests of one batch; what is computed for them holds up recommendations of this gateway meanwhile."""
    max_queue_ms: float | None = Field(default=500, gt=0)
    """A request that might wait longer than this is refused with 429; unset = none is."""
    max_batch_ms: float | None = Field(default=None, gt=0)
    """While batches take longer than this, fewer of them are under way at once; unset = always as many as may be."""


class InteractionConfig(StrictConfig):
    """Which events are taken, and how they are written."""

    max_future_s: int = Field(default=300, ge=0)
    """Seconds that a client's clock may be ahead: such events count as of now, later ones are refused."""
    batch: InteractionBatcherConfig = InteractionBatcherConfig()
    """How requests with events gather."""
    quotas: QuotaConfig = QuotaConfig()
    """How many events are taken of whom."""
    yield_ms: float = Field(default=50, ge=0)
    """Events that have waited less than this let the recommendations under way go first: one core computes both."""
