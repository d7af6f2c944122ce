"""The shell of stage groups and models: opens what it holds, warms it up, calls it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contracts.bundle import open_bundle
from contracts.files import private_process
from serving.config import ServingConfig
from serving.deployments.logs import keep_logs_written
from serving.deployments.replica import connect_stores, limit_threads, spare_collector, with_device
from serving.groups import PartName, open_part, reads_stores, warm_up
from serving.load import ComputeThread


class StageReplica:
    """One or more stage groups or models in a replica of their own.

    Args:
        parts: what it holds.
        bundle_path: folder of the bundle that it serves; messages of other bundles are refused.
        config: settings.
    """

    async def __init__(self, parts: Sequence[PartName], bundle_path: str, config: ServingConfig) -> None:  # type: ignore[misc]
        private_process()
        keep_logs_written()
        config = with_device(config)
        bundle = open_bundle(bundle_path, verify=False)
        stores = await connect_stores(config) if reads_stores(parts) else None
        thread = ComputeThread()
        self._load = thread.load
        self._parts = {name: open_part(name, bundle, config, thread, stores) for name in parts}
        limit_threads(thread)
        await warm_up(self._parts, bundle, config)
        spare_collector()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve asks for this from time to time."""
        return self._load.take()

    async def __call__(self, part: PartName, *messages: Any) -> Any:
        """Calls a part; the caller keeps the time."""
        return await self._parts[part](*messages, timeout_s=float("inf"))
