"""The shell of stages: opens them, warms them up, calls them."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.bundle import open_bundle
from contracts.files import private_process
from serving.deployments.logs import keep_logs_written
from serving.deployments.replica import connect_stores, limit_threads, spare_collector, with_device
from serving.placing.config import StageConfig
from serving.placing.placement import find_placement
from serving.placing.stage_table import warm_up
from serving.running.load import ComputeThread


class StageReplica:
    """One or more stages in a replica of their own.

    Args:
        placement: name of the placement.
        held: names of its stages.
        bundle_path: folder of the bundle; messages of other bundles are refused.
        config: settings.
    """

    async def __init__(  # type: ignore[misc]
        self, placement: str, held: Sequence[str], bundle_path: str, config: StageConfig
    ) -> None:
        private_process()
        keep_logs_written()
        config = with_device(config)
        bundle = open_bundle(bundle_path, verify=False)
        placed = find_placement(placement)
        stores = None if placed.reading.isdisjoint(held) else await connect_stores(config)
        thread = ComputeThread()
        self._load = thread.load
        self._calls = {name: placed.open(name, bundle, config, thread, stores) for name in held}
        limit_threads(thread)
        await warm_up(self._calls, bundle, config)
        spare_collector()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve calls this periodically."""
        return self._load.take()

    async def __call__(self, name: str, *messages: object) -> object:
        """Calls a stage by its name; the caller watches the time."""
        return await self._calls[name](*messages, timeout_s=float("inf"))
