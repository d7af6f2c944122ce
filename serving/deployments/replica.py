"""What every replica does when it starts."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from typing import Final, TypeVar

import ray

from contracts.cores import ThreadsByLoad
from serving.deployments.ray_metrics import RayMetrics
from serving.placing.config import StageConfig
from serving.running.load import ComputeThread
from serving.stores.broken import BROKEN
from serving.stores.connection import StoreConnection
from serving.stores.owner import resolve_address
from serving.watching.metrics import BROKEN_KEYS, MetricSink, Snapshot

_PAUSE_S: Final = 1.0
ConfigT = TypeVar("ConfigT", bound=StageConfig)


def limit_threads(thread: ComputeThread) -> None:
    """Gives torch, where a model has loaded it, as many threads as the replica has CPUs, at least one.

    Several become fewer while other processes need the cores.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return
    cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 1.0)  # type: ignore[no-untyped-call]
    thread.before_call = ThreadsByLoad(max(1, int(cpus)), torch.set_num_threads).follow


def spare_collector() -> None:
    """Tells the garbage collector that what is loaded by now stays.

    Looking through it, which a full collection does, would hold all requests up for a quarter of a second.
    """
    gc.collect()
    gc.freeze()


def with_device(config: ConfigT) -> ConfigT:
    """The settings with `device: auto` decided: Ray knows whether this replica was given a GPU, torch sees them all."""
    if config.device != "auto":
        return config
    given = ray.get_runtime_context().get_accelerator_ids().get("GPU")
    return config.model_copy(update={"device": "cuda" if given else "cpu"})


async def connect_stores(config: StageConfig) -> StoreConnection:
    """Connects to the stores; the embedded Redis is started if nobody has yet.

    Raises:
        ConfigError: the store's server lacks what the settings want.
    """
    threading.Thread(target=_report_broken_keys, args=(RayMetrics((BROKEN_KEYS,)),), name="keys", daemon=True).start()
    address = await asyncio.to_thread(resolve_address, config.stores)
    stores = StoreConnection.open(config.stores, address)
    await stores.check()
    return stores


def _report_broken_keys(sink: MetricSink) -> None:
    """Hands on, once a second and as long as the process lives, how many broken keys it met."""
    pause = threading.Event()
    while not pause.wait(_PAUSE_S):
        if found := BROKEN.take():
            sink(Snapshot({}, found))
