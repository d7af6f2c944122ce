"""The shell of the consumer: a thread that reads the stream while the replica lives."""

from __future__ import annotations

import os
import threading
import uuid
from contextlib import ExitStack

from contracts.bundle import open_bundle
from contracts.files import private_process
from serving.config import ServingConfig
from serving.deployments.logs import keep_logs_written
from serving.deployments.ray_metrics import RayMetrics
from serving.deployments.replica import connect_stores
from serving.interactions.build import open_consumer
from serving.interactions.meter import CONSUMER_METRICS, ConsumerMeter

_STOP_TIMEOUT_S = 10.0


class ConsumerReplica:
    """Updates features and records; any number of replicas share the work, and nobody calls them.

    Args:
        bundle_path: folder of a bundle of the shop.
        config: settings.
    """

    async def __init__(self, bundle_path: str, config: ServingConfig) -> None:  # type: ignore[misc]
        private_process()
        keep_logs_written()
        timezone = open_bundle(bundle_path, verify=False).transforms.calendar.timezone
        stores = await connect_stores(config)
        meter = ConsumerMeter(RayMetrics(CONSUMER_METRICS))
        self._connections = ExitStack()
        self._consumer = self._connections.enter_context(
            open_consumer(config.consumer, stores.config, stores.address, timezone, uuid.uuid4().hex, meter)
        )
        self._niceness = config.consumer.niceness
        self._thread = threading.Thread(target=self._work, name="consumer", daemon=True)
        self._thread.start()

    def check_health(self) -> None:
        """Serve calls this periodically and restarts a replica that raises.

        Raises:
            RuntimeError: the thread has ended or hangs.
        """
        if not self._thread.is_alive():
            raise RuntimeError("the consumer has ended with an error, see the replica's log; it is restarted")
        self._consumer.check()

    def _work(self) -> None:
        os.nice(self._niceness)  # on Linux, of this thread only
        self._consumer.run()

    def __del__(self) -> None:
        """Serve calls this when it stops the replica: writes and acknowledges the taken entries."""
        if hasattr(self, "_thread"):
            self._consumer.stop()
            self._thread.join(_STOP_TIMEOUT_S)
            self._connections.close()
