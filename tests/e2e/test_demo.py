"""`make demo SIZE=debug` as a person runs it."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_apps.jobs.pipeline import JOBS
from ray_apps.ports import free_port
from tests.e2e.programs import (
    FIRST_PORT,
    ROOT,
    Program,
    dashboard_token,
    get,
    post,
    processes_of,
    running,
    user_environment,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow]
CONFIG = ROOT / "configs" / "jobs" / "debug.yaml"
STAGES = tuple(job.name for job in JOBS)
FIELDS = {"rank", "item_id", "score", "title", "category_l1", "category_l2", "gender", "price", "image_url"}


def demo_arguments(port: int, var_dir: Path) -> tuple[str, ...]:
    return "ray_apps.demo", "--size", "debug", "--port", str(port), f"var_dir={var_dir}"


@pytest.fixture(scope="module")
def port() -> int:
    return free_port(FIRST_PORT)


@pytest.fixture(scope="module")
def var_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "var #1? 50%"  # what addresses and patterns read as their own


@pytest.fixture(scope="module")
def first_run(port: int, var_dir: Path) -> Program:
    """Ran until it was ready, then somebody pressed Ctrl-C."""
    with running(*demo_arguments(port, var_dir)) as program:
        assert program.read_until("READY ") == f"READY http://127.0.0.1:{port}"
        assert program.interrupt() == 0, program.output
    return program


@pytest.fixture(scope="module")
def demo(first_run: Program, port: int, var_dir: Path) -> Iterator[Program]:
    """The second run, waiting; ended by SIGTERM."""
    assert processes_of(var_dir) == [], "left over by the first run"
    with running(*demo_arguments(port, var_dir)) as program:
        program.read_until("READY ")
        yield program
        program.process.terminate()
        assert program.finish() == 0, program.output
    assert processes_of(var_dir) == []


def test_it_shows_stages_table_recommendation_and_addresses(first_run: Program, port: int) -> None:
    for stage in STAGES:
        assert any(line.startswith(stage) for line in first_run.lines), stage
    for shown in (
        "pipeline",
        "ease",
        "oracle",
        "For user u1 on a phone",
        f"http://127.0.0.1:{port}/docs",
        "report.html",
    ):
        assert shown in first_run.output, shown


def test_a_second_run_reuses_everything(demo: Program) -> None:
    for stage in STAGES:
        (line,) = [line for line in demo.lines if line.startswith(stage)]
        assert "(reused)" in line


@pytest.mark.parametrize("user", [{"user_id": "u1"}, {"user_id": "nobody"}, {}])
def test_it_answers_known_unknown_and_anonymous_users(demo: Program, port: int, user: dict[str, str]) -> None:
    answer = post(f"http://127.0.0.1:{port}/v1/recommendations", {**user, "device_type": "mobile", "k": 10})
    assert set(answer) == {"request_id", "user_id", "bundle_version", "degraded", "recommendations"}
    assert answer["user_id"] == user.get("user_id")
    assert answer["degraded"] == []
    assert [item["rank"] for item in answer["recommendations"]] == list(range(1, 11))
    assert set(answer["recommendations"][0]) == FIELDS


def test_the_page_is_served_beside_it(demo: Program) -> None:
    (line,) = [line for line in demo.lines if line.startswith("demo page")]
    with urllib.request.urlopen(line.split()[2], timeout=30) as answer:
        assert "<title>Streamlit</title>" in answer.read().decode()


def test_the_ray_dashboard_lists_application_and_jobs(demo: Program, var_dir: Path) -> None:
    (line,) = [line for line in demo.lines if line.startswith("Ray dashboard")]
    dashboard = line.split()[2]
    token = dashboard_token()
    applications = get(f"{dashboard}/api/serve/applications/", token)["applications"]
    assert {name: entry["status"] for name, entry in applications.items()} == {"recommender": "RUNNING"}
    jobs = get(f"{dashboard}/api/jobs/", token)
    assert [job["type"] for job in jobs] == ["DRIVER"]


def test_jobs_run_under_ray_job_submit(demo: Program, var_dir: Path) -> None:
    (line,) = [line for line in demo.lines if line.startswith("Ray dashboard")]
    command = [sys.executable, "-m", "ray_apps.jobs.materialize", "--config", str(CONFIG), f"var_dir={var_dir}"]
    submit = [str(Path(sys.executable).with_name("ray")), "job", "submit", "--address", line.split()[2], "--", *command]
    environment = {**user_environment(), "RAY_AUTH_MODE": "token"}
    done = subprocess.run(submit, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seen filters (reused)" in done.stdout


def test_nothing_that_it_wrote_is_open_to_others(demo: Program, var_dir: Path) -> None:
    written = [var_dir, *var_dir.rglob("*")]
    assert len(written) > 100
    assert [path for path in written if stat.S_IMODE(path.lstat().st_mode) & 0o077 and not path.is_symlink()] == []


def test_a_busy_port_is_told_before_any_work(tmp_path: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        number = busy.getsockname()[1]
        with running(*demo_arguments(number, tmp_path / "var")) as program:
            assert program.finish() == 2
        assert f"error: port {number} is in use" in program.output
    assert [path.name for path in (tmp_path / "var").iterdir()] == ["server.lock"]


def test_a_second_demo_in_the_same_folder_is_refused(demo: Program, var_dir: Path) -> None:
    with running(*demo_arguments(free_port(FIRST_PORT), var_dir)) as program:
        assert program.finish() == 2
    assert f"the run 'demo' (process {demo.process.pid}) works in {var_dir} now" in program.output
