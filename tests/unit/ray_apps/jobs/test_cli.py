from __future__ import annotations

from pathlib import Path

import pytest
from ray.exceptions import RayTaskError

from contracts.errors import SchemaError
from ray_apps.console import EXIT_BUG, EXIT_OK, EXIT_REFUSED, report_error
from ray_apps.jobs import simulate
from ray_apps.jobs.cli import main, run_command
from ray_apps.jobs.workspace import Workspace
from ray_apps.lock import JOBS_LOCK, folder_lock

CONFIG = "simulator:\n  size: debug\n  num_users: 20\n  num_items: 30\n  num_events: 200\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(CONFIG)
    return path


def arguments(config: Path, *more: str) -> list[str]:
    return ["--config", str(config), f"var_dir={config.parent / 'var'}", *more]


def test_a_job_runs_and_is_reused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(simulate.JOB, arguments(config)) == EXIT_OK
    assert "interactions of 20 users with 30 items" in capsys.readouterr().out
    assert main(simulate.JOB, arguments(config)) == EXIT_OK
    assert "(reused)" in capsys.readouterr().out
    assert main(simulate.JOB, arguments(config, "--force", "seed=1")) == EXIT_OK
    assert "(reused)" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("simulator.sise=debug", "unknown key 'simulator.sise'; legal keys: brand_weight,"),
        ("simulator=null", "raw_dir and simulator are both null"),
        ("timezone=Mars/Olympus", "unknown timezone 'Mars/Olympus'"),
        ("simulator.timezone=Europe/Berlin", "set timezone once, at the top"),
        ("stores.shop=other", "stores.shop=other differs from shop=shop"),
        ("seed=-1", "seed: Input should be greater than or equal to 0 (got -1)"),
        ("seed", "'seed' is not of the form key=value"),
    ],
)
def test_bad_settings_are_one_line_and_write_nothing(
    config: Path, capsys: pytest.CaptureFixture[str], override: str, message: str
) -> None:
    assert main(simulate.JOB, arguments(config, override)) == EXIT_REFUSED
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert list(config.parent.iterdir()) == [config]


def test_a_second_run_in_the_same_folder_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with folder_lock(config.parent / "var" / JOBS_LOCK, "pipeline"):
        assert main(simulate.JOB, arguments(config)) == EXIT_REFUSED
    assert "the run 'pipeline'" in capsys.readouterr().err


def test_bugs_show_their_traceback(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(_workspace: Workspace) -> None:
        raise ZeroDivisionError("oops")

    assert run_command("toy", "", run, arguments(config)) == EXIT_BUG
    assert "Traceback" in capsys.readouterr().err


def test_errors_of_ray_workers_are_as_clear_as_ours(capsys: pytest.CaptureFixture[str]) -> None:
    remote = RayTaskError("encode", "Traceback …", SchemaError("items.parquet: no column 'item_id'"))
    with pytest.raises(RuntimeError) as raised:
        raise RuntimeError("the dataset failed") from remote
    assert report_error(raised.value) == EXIT_REFUSED
    assert capsys.readouterr().err == "error: items.parquet: no column 'item_id'\n"


def test_the_simulator_keeps_off_other_tables(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = config.parent / "shop"
    (raw / "items").mkdir(parents=True)
    (raw / "items" / "a.parquet").write_text("mine")
    assert main(simulate.JOB, arguments(config, f"raw_dir={raw}")) == EXIT_REFUSED
    assert "holds what no simulation wrote" in capsys.readouterr().err
    assert (raw / "items" / "a.parquet").read_text() == "mine"


def test_help_lists_settings_with_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(simulate.JOB, ["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert "simulator.size (demo): Number of users" in shown
    assert "simulator.impressions.slate_size (10):" in shown
    assert "--config configs/jobs/demo.yaml raw_dir=DIR" in shown
