"""The main job on tables of somebody else, with little more than ids in them, through a kill to an HTTP answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.bundle import open_bundle
from contracts.clock import DAY_S, day_to_name
from contracts.registry import Registry
from ray_apps.ports import free_port
from tests.e2e.programs import FIRST_PORT, ROOT, post, processes_of, running

pytestmark = [pytest.mark.ray, pytest.mark.slow]
NUM_USERS, NUM_ITEMS, NUM_EVENTS, NUM_DAYS = 60, 80, 4_000, 6
FIRST_DAY = 20_600


@pytest.fixture(scope="module")
def raw_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users without age, items with a name, interactions without device, event or event id, some without a user."""
    folder = tmp_path_factory.mktemp("shop") / "tables"
    rng = np.random.default_rng(0)
    write(folder / "users", {"user_id": [f"customer-{n}" for n in range(NUM_USERS)]})
    write(
        folder / "items",
        {"item_id": [f"sku-{n}" for n in range(NUM_ITEMS)], "name": [f"Thing {n % 7}" for n in range(NUM_ITEMS)]},
    )
    popularity = 1 / np.arange(1, NUM_ITEMS + 1)
    for day in range(FIRST_DAY, FIRST_DAY + NUM_DAYS):
        size = NUM_EVENTS // NUM_DAYS
        users = rng.integers(NUM_USERS, size=size)
        write(
            folder / "interactions" / f"day={day_to_name(day)}",
            {
                "user_id": [None if n % 10 == 0 else f"customer-{n}" for n in users],
                "session_id": [f"session-{n}-{day}" for n in users],
                "item_id": [f"sku-{n}" for n in rng.choice(NUM_ITEMS, size=size, p=popularity / popularity.sum())],
                "timestamp": np.sort(rng.integers(day * DAY_S, (day + 1) * DAY_S, size=size)),
            },
        )
    return folder


def write(folder: Path, columns: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "part-0.parquet")


@pytest.fixture(scope="module")
def var_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own") / "var"


@pytest.fixture(scope="module")
def arguments(raw_dir: Path, var_dir: Path) -> tuple[str, ...]:
    config = ROOT / "configs" / "jobs" / "debug.yaml"
    settings = f"raw_dir={raw_dir} var_dir={var_dir} shop=mine preprocess.columns.items.title=name".split()
    return "ray_apps.jobs.pipeline", "--config", str(config), *settings


@pytest.fixture(scope="module")
def killed(arguments: tuple[str, ...]) -> Iterator[None]:
    """A first run that was killed while it embedded."""
    with running(*arguments) as program:
        program.read_until("preprocess")
        family = psutil.Process(program.process.pid).children(recursive=True)
        program.process.kill()
    psutil.wait_procs(family, timeout=30)


@pytest.fixture(scope="module")
def finished(killed: None, arguments: tuple[str, ...]) -> str:
    with running(*arguments) as program:
        assert program.finish() == 0, program.output
    return program.output


def test_a_killed_run_goes_on_where_it_was(finished: str, var_dir: Path) -> None:
    (line,) = [line for line in finished.splitlines() if line.startswith("preprocess")]
    assert "(reused)" in line
    assert "simulate" in finished
    assert not list(var_dir.rglob("*.tmp"))


def test_the_tables_are_used_as_they_are(finished: str, raw_dir: Path, var_dir: Path) -> None:
    assert f"tables given in {raw_dir}" in finished
    assert sorted(path.name for path in raw_dir.iterdir()) == ["interactions", "items", "users"]
    assert not (var_dir / "raw").exists()


def test_the_manifest_says_what_was_missing(finished: str, var_dir: Path) -> None:
    version = Registry.open(var_dir / "bundles").production()
    assert version is not None
    manifest = open_bundle(var_dir / "bundles" / version).manifest
    assert {"users.age", "items.price", "items.image_path", "interactions.device_type"} <= set(manifest.missing)
    assert version.startswith(f"mine-{day_to_name(FIRST_DAY + NUM_DAYS - 1)}-")
    report = json.loads((var_dir / "reports" / version / "report.json").read_text())
    assert report["oracle"]["full"] is None
    assert report["pipeline"]["hr@10"]["n"] > 0


def test_it_is_served(finished: str, var_dir: Path) -> None:
    port = free_port(FIRST_PORT)
    with running("ray_apps.serve", "--placement", "fused", "--port", str(port), "--var", str(var_dir)) as server:
        server.read_until("READY ")
        for user in ({"user_id": "customer-1"}, {"session_id": "session-10-20605"}, {"user_id": "nobody"}):
            answer = post(f"http://127.0.0.1:{port}/v1/recommendations", {**user, "k": 5})
            assert answer["degraded"] == []
            assert len(answer["recommendations"]) == 5
            assert answer["recommendations"][0]["title"].startswith("Thing ")
        assert server.interrupt() == 0, server.output
    assert processes_of(var_dir) == []
