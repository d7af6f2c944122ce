"""The shell of stage groups and models: opens what it holds, warms it up, calls it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from contracts.bundle import open_bundle
from serving.config import ServingConfig
from serving.deployments.replica import connect_stores, limit_threads
from serving.groups import PartName, open_part, reads_stores, warm_up


class StageReplica:
    """One or more stage groups or models in a replica of their own.

    Args:
        parts: what it holds.
        bundle_path: folder of the bundle that it serves; messages of other bundles are refused.
        config: settings.
    """

    async def __init__(self, parts: Sequence[PartName], bundle_path: str, config: ServingConfig) -> None:  # type: ignore[misc]
        bundle = open_bundle(bundle_path, verify=False)
        stores = await connect_stores(config) if reads_stores(parts) else None
        thread = ThreadPoolExecutor(1, thread_name_prefix="compute")
        self._parts = {name: open_part(name, bundle, config, thread, stores) for name in parts}
        limit_threads()
        await warm_up(self._parts, bundle, config)

    async def __call__(self, part: PartName, *messages: Any) -> Any:
        """Calls a part; the caller keeps the time."""
        return await self._parts[part](*messages, timeout_s=float("inf"))
