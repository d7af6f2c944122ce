"""Startup of replicas."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from typing import TYPE_CHECKING, Final, TypeVar

import ray

from contracts.cores import ThreadsByLoad
from serving.deployments.ray_metrics import RayMetrics
from serving.placing.config import StageConfig
from serving.running.load import ComputeThread
from serving.watching.metrics import BROKEN_KEYS, MetricSink, Snapshot

if TYPE_CHECKING:
    from serving.stores.connection import StoreConnection

_PAUSE_S: Final = 1.0
ConfigT = TypeVar("ConfigT", bound=StageConfig)


def limit_threads(thread: ComputeThread) -> None:
    """Limits torch, if a model has loaded it, to as many threads as the replica has CPUs, at least one.

    Uses fewer threads while other processes need the cores.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return
    cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 1.0)  # type: ignore[no-untyped-call]
    thread.before_call = ThreadsByLoad(max(1, int(cpus)), torch.set_num_threads).follow


def spare_collector() -> None:
    """Excludes the objects that are loaded now from garbage collection.

    Otherwise a full collection would scan them, which delays all requests by a quarter of a second.
    """
    gc.collect()
    gc.freeze()


def with_device(config: ConfigT) -> ConfigT:
    """Replaces `device: auto`: Ray knows whether this replica has a GPU; torch sees all GPUs of the machine."""
    if config.device != "auto":
        return config
    gpus = ray.get_runtime_context().get_accelerator_ids().get("GPU")
    return config.model_copy(update={"device": "cuda" if gpus else "cpu"})


async def connect_stores(config: StageConfig) -> StoreConnection:
    """Connects to the stores; starts the embedded Redis if necessary.

    Raises:
        ConfigError: the server of the stores does not support the settings.
    """
    from serving.stores.connection import StoreConnection  # most replicas read no stores
    from serving.stores.owner import resolve_address

    threading.Thread(target=_report_broken_keys, args=(RayMetrics((BROKEN_KEYS,)),), name="keys", daemon=True).start()
    address = await asyncio.to_thread(resolve_address, config.stores)
    stores = StoreConnection.open(config.stores, address)
    await stores.check()
    return stores


def _report_broken_keys(sink: MetricSink) -> None:
    """Reports the number of broken keys once a second."""
    from serving.stores.broken import BROKEN

    pause = threading.Event()
    while not pause.wait(_PAUSE_S):
        if found := BROKEN.take():
            sink(Snapshot({}, found))
