"""The shell of the gateway: the ingress, with the stages that have no deployment of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ray import serve
from starlette.types import ASGIApp

from contracts.bundle import open_bundle
from contracts.files import private_process
from serving.config import ServingConfig
from serving.deployments.logs import keep_logs_written
from serving.deployments.ray_metrics import RayMetrics
from serving.deployments.replica import connect_stores, limit_threads, spare_collector, with_device
from serving.gateway.build import Surroundings, build_gateway
from serving.placing.placement import find_placement
from serving.placing.stage_table import STAGES, open_stage, warm_up
from serving.running.calls import RemoteCall, RemoteHandle
from serving.running.load import BUSY, QUEUE_MS, ComputeThread


@serve.ingress()
class GatewayReplica:
    """Answers HTTP.

    Args:
        placement: name of the placement.
        bundle_path: folder of the bundle.
        config: settings.
        remote: Serve's handles of deployments by the names of what they hold; all other stages run here.
        beside: handles of deployments that get no calls; naming them here makes them part of the application.
    """

    async def __init__(  # type: ignore[misc]
        self,
        placement: str,
        bundle_path: str,
        config: ServingConfig,
        remote: dict[str, RemoteHandle[object]],
        beside: Sequence[object] = (),
    ) -> None:
        private_process()
        config = with_device(config)
        bundle = open_bundle(bundle_path, verify=False)
        stores = await connect_stores(config)
        calls = {name: RemoteCall(handle, name) for name, handle in remote.items()}
        elsewhere = find_placement(placement).compose(calls)
        local: tuple[str, ...] = tuple(name for name in STAGES if name not in elsewhere)
        thread = ComputeThread()
        opened = {name: open_stage(name, bundle, config, thread, stores) for name in local}
        limit_threads(thread)
        await warm_up(opened, bundle, config)
        stages = opened | {name: elsewhere[name] for name in STAGES if name in elsewhere}
        around = Surroundings.of(bundle, config, stores, RayMetrics())
        built = build_gateway(stages, bundle, config, placement, around)
        keep_logs_written(built.telemetry.write_lines)
        spare_collector()
        self._app = built.app
        self._telemetry = built.telemetry
        self._loads = (thread.load, built.endpoints.service.load)
        beside_calls = (built.endpoints.monitor.probe, built.popularity.run, built.impressions.run)
        self._tasks = [asyncio.create_task(run()) for run in beside_calls]

    async def __del__(self) -> None:
        """Serve calls this when it stops the replica: writes the remaining records."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, self._telemetry.close(), return_exceptions=True)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve calls this periodically; waiting times for a batch and for the compute thread add up."""
        thread, batches = (load.take() for load in self._loads)
        return batches | {QUEUE_MS: batches[QUEUE_MS] + thread[QUEUE_MS], BUSY: max(batches[BUSY], thread[BUSY])}

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Serve calls this for the application once the replica has started."""
        return self._app
