"""Settings of stages, in any placement."""

from __future__ import annotations

from pydantic import Field

from contracts.clock import Clock, SimulatedClock, SystemClock
from contracts.config import StrictConfig
from serving.placing.device import Device
from serving.running.config import PipelineConfig
from serving.stages.config import RetrievalConfig
from serving.stores.config import StoreConfig


class StageConfig(StrictConfig):
    """Settings of a replica of stages."""

    simulated_now: int | None = Field(default=None, ge=1)
    """Unix seconds of a simulated clock that stands still; unset = the machine's clock."""
    device: Device = "auto"
    """Where query tower and ranker run: `cpu`, `cuda`, or `auto` = `cuda` in a replica with a GPU."""
    stores: StoreConfig = StoreConfig()
    """Stores of user features, recent items and seen items."""
    retrieval: RetrievalConfig = RetrievalConfig()
    """Settings of retrieval."""
    pipeline: PipelineConfig = PipelineConfig()
    """Policies for failing stages."""

    def clock(self) -> Clock:
        """The clock that tells now."""
        return SystemClock() if self.simulated_now is None else SimulatedClock(self.simulated_now)


class QueueTimeConfig(StrictConfig):
    """Settings of the autoscaling policy."""

    target_ms: float = Field(default=20.0, gt=0)
    """Milliseconds that a request may spend in queues, all deployments together, before the busiest one grows."""
    max_growth: float = Field(default=2.0, gt=1)
    """Most that a deployment grows in one step, as a factor; it grows by one replica at least."""
    busy_after: float = Field(default=0.6, gt=0, lt=1)
    """A deployment shrinks to as many replicas as would then be busy for this share of the time."""
