"""One server and one Redis for all faults; the Redis is ours, so that it can be stopped and started."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import psutil
import pytest

from tests.fixtures.running_shop import RunningShop, running_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningShop]:
    with running_shop(tmp_path_factory.mktemp("chaos") / "var", "tiered", "service.budget_ms=400") as served:
        yield served


@pytest.fixture
def stopped() -> Iterator[list[psutil.Process]]:
    """Processes to go on with after the test, whatever happens."""
    processes: list[psutil.Process] = []
    yield processes
    for process in processes:
        if process.is_running():
            process.send_signal(signal.SIGCONT)
