"""The shell of the stage groups: opens what it holds, warms it up, calls it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from contracts.bundle import open_bundle
from serving.config import ServingConfig
from serving.deployments.replica import connect_stores, limit_threads
from serving.groups import GroupName, open_group, warm_up


class StageReplica:
    """One or more stage groups in a replica of their own.

    Args:
        groups: stage groups that it holds.
        bundle_path: folder of the bundle that it serves; messages of other bundles are refused.
        config: settings.
    """

    async def __init__(self, groups: Sequence[GroupName], bundle_path: str, config: ServingConfig) -> None:  # type: ignore[misc]
        bundle = open_bundle(bundle_path, verify=False)
        stores = await connect_stores(config) if "query_features" in groups else None
        thread = ThreadPoolExecutor(1, thread_name_prefix="compute")
        self._groups = {name: open_group(name, bundle, config, thread, stores) for name in groups}
        limit_threads()
        await warm_up(self._groups, bundle, config)

    async def __call__(self, group: GroupName, *messages: Any) -> Any:
        """Calls a stage group; the caller keeps the time."""
        return await self._groups[group](*messages, timeout_s=float("inf"))
