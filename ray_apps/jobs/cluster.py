"""Connecting to Ray: the cluster that RAY_ADDRESS names, else one of this process."""

from __future__ import annotations

import os
from typing import Any

import ray

from ray_apps.jobs.config import ClusterConfig


def connect(config: ClusterConfig, **options: Any) -> None:
    """Joins the cluster that RAY_ADDRESS names (so does a job under `ray job submit`), else starts a local one.

    Args:
        config: sizes of a local cluster.
        options: more arguments of `ray.init` for a local cluster.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if os.environ.get("RAY_ADDRESS"):
        ray.init(logging_level="warning")
        return
    memory = config.object_store_memory_mb
    ray.init(
        address="local",
        # Two at least: a trainer's worker and its controller must fit on the smallest machine.
        num_cpus=max(2, os.cpu_count() or 1),
        object_store_memory=None if memory is None else memory * 1_000_000,
        **{"include_dashboard": False, "logging_level": "warning", **options},
    )
