"""Settings of stages, in any placement."""

from __future__ import annotations

from pydantic import Field

from contracts.clock import Clock, SimulatedClock, SystemClock
from contracts.config import StrictConfig
from serving.placing.device import Device
from serving.running.steps import PipelineConfig
from serving.stages.retrieval import RetrievalConfig
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
