"""One server and one Redis for all faults; the Redis is ours, so that it can be stopped and started."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from contracts.registry import Registry
from ray_apps.cluster import OWNER
from ray_apps.ports import free_port
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.embedded import EmbeddedRedis
from tests.e2e.programs import FIRST_PORT, Program, running
from tests.fixtures.filled_stores import fill_stores
from tests.fixtures.served_bundle import NOW, VERSION, write_served_bundle


@dataclass
class Shop:
    """A running server and its store.

    Attributes:
        port: of the server.
        var_dir: its folder.
        redis: its store.
        redis_config: to start the store anew.
        program: its process.
    """

    port: int
    var_dir: Path
    redis: EmbeddedRedis
    redis_config: EmbeddedRedisConfig
    program: Program

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def replicas(self, deployment: str) -> list[psutil.Process]:
        """Processes of a deployment's replicas."""
        found = []
        for process in psutil.process_iter():
            try:
                title = " ".join(process.cmdline())
                ours = process.environ().get(OWNER) == str(self.var_dir)
            except psutil.Error:
                continue
            if ours and f"ServeReplica:recommender:{deployment}" in title:
                found.append(process)
        return found

    def kill(self, deployment: str) -> None:
        """Kills all replicas of a deployment as a crash would."""
        victims = self.replicas(deployment)
        assert victims, f"no replica of {deployment} runs"
        for victim in victims:
            victim.kill()

    def redis_process(self) -> psutil.Process:
        assert self.redis.pid is not None
        return psutil.Process(self.redis.pid)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    var_dir = tmp_path_factory.mktemp("chaos") / "var"
    bundle = write_served_bundle(var_dir)
    Registry.open(var_dir / "bundles").promote(VERSION, "chaos")
    redis_config = EmbeddedRedisConfig(data_dir=var_dir / "redis", fsync="always", port=free_port(FIRST_PORT + 200))
    redis = EmbeddedRedis(redis_config)
    address = redis.start()
    stores = StoreConfig(shop=bundle.manifest.shop, address=address, feast_dir=var_dir / "feast")
    fill_stores(stores, address)
    port = free_port(FIRST_PORT)
    settings = [f"stores.address={address}", f"simulated_now={NOW}", "service.budget_ms=400"]
    arguments = ("--placement", "tiered", "--port", str(port), "--var", str(var_dir), *settings)
    with running("ray_apps.serve", *arguments) as program:
        program.read_until("READY ")
        served = Shop(port, var_dir, redis, redis_config, program)
        yield served
        served.redis.start() if served.redis.pid is None else None
        assert program.interrupt() == 0, program.output
    served.redis.stop()


@pytest.fixture
def stopped() -> Iterator[list[psutil.Process]]:
    """Processes to go on with after the test, whatever happens."""
    processes: list[psutil.Process] = []
    yield processes
    for process in processes:
        if process.is_running():
            process.send_signal(signal.SIGCONT)
