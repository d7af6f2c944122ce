"""Settings that stages need, wherever they run."""

from __future__ import annotations

from pydantic import Field

from contracts.clock import Clock, SimulatedClock, SystemClock
from contracts.config import StrictConfig
from serving.placing.device import Device
from serving.running.steps import PipelineConfig
from serving.stages.retrieval import RetrievalConfig
from serving.stores.config import StoreConfig


class StageConfig(StrictConfig):
    """What a replica of stages needs to know."""

    simulated_now: int | None = Field(default=None, ge=1)
    """Unix seconds at which a simulated clock stands still; unset = the machine's clock."""
    device: Device = "auto"
    """Where query tower and ranker run: `cpu`, `cuda`, or `auto` = `cuda` in a replica that was given a GPU."""
    stores: StoreConfig = StoreConfig()
    """User features, recent items and seen rings."""
    retrieval: RetrievalConfig = RetrievalConfig()
    """How many candidates."""
    pipeline: PipelineConfig = PipelineConfig()
    """Policies for failing stages."""

    def clock(self) -> Clock:
        """The clock that all code takes now from."""
        return SystemClock() if self.simulated_now is None else SimulatedClock(self.simulated_now)
