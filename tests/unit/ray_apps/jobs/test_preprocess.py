"""What preprocessing reads of the records, and that a server that goes on writing them does not disturb a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.clock import SimulatedClock, day_to_name
from contracts.files import atomic_dir
from ray_apps.jobs import preprocess
from ray_apps.jobs.config import JobConfig
from ray_apps.jobs.runner import execute
from ray_apps.jobs.workspace import Job, Workspace, files_identity, fingerprint_folder

NOW = 1_768_400_000  # 2026-01-14, 14:13 UTC
TODAY = NOW // 86_400
SHOP = "shop"


def config(folder: Path, **values: object) -> JobConfig:
    return JobConfig.model_validate({"var_dir": folder, "simulator": {"size": "debug"}, **values})


def put(folder: Path, table: str, day: int | None = None, name: str = "part-0.parquet") -> Path:
    """A recorded file."""
    place = folder / "records" / SHOP / table / ("" if day is None else f"day={day_to_name(day)}")
    place.mkdir(parents=True, exist_ok=True)
    (place / name).write_text("rows")
    return place


@pytest.mark.parametrize(
    ("timezone", "now", "end"),
    [
        ("UTC", NOW, TODAY),
        ("UTC", TODAY * 86_400 + 899, TODAY - 1),  # consumers may have events of yesterday to write
        ("UTC", TODAY * 86_400 + 900, TODAY),
        ("Pacific/Auckland", NOW, TODAY + 1),
    ],
)
def test_records_are_read_up_to_the_last_day_that_is_over(tmp_path: Path, timezone: str, now: int, end: int) -> None:
    wanted = config(tmp_path, use_records=True, timezone=timezone)
    assert preprocess.records_end(wanted, SimulatedClock(now)) == end
    assert preprocess.records_end(config(tmp_path), SimulatedClock(now)) is None


def test_only_what_is_read_counts(tmp_path: Path) -> None:
    clock, wanted = SimulatedClock(NOW), config(tmp_path, use_records=True)
    assert preprocess.records(wanted) is None
    assert preprocess.recorded(wanted, clock) == []
    yesterday = put(tmp_path, "interactions", TODAY - 1)
    served = put(tmp_path, "user_activity", TODAY - 1)
    put(tmp_path, "interactions", TODAY)
    put(tmp_path, "impressions", TODAY - 1)
    tombstones = put(tmp_path, "tombstones")
    assert preprocess.recorded(wanted, clock) == [yesterday, served, tombstones]
    assert preprocess.recorded(config(tmp_path), clock) == [tombstones]
    assert preprocess.records(config(tmp_path)) == tmp_path / "records" / SHOP


def test_a_server_that_records_meanwhile_does_not_hide_what_is_finished(tmp_path: Path) -> None:
    def run(_: Workspace, out: Path) -> str:
        with atomic_dir(out):
            return "done"

    def toy(name: str, inputs: tuple[Job, ...] = ()) -> Job:
        files = preprocess.JOB.files if name == "preprocess" else lambda _: ()
        return Job(name, "Toy.", (), inputs, run, fingerprint_folder(name), files=files)

    first = toy("preprocess")
    second = toy("embed", (first,))
    put(tmp_path, "tombstones")
    space = Workspace(config(tmp_path, raw_dir=tmp_path / "raw"))
    execute(first, space)
    put(tmp_path, "tombstones", name="part-1.parquet")
    execute(second, space)
    assert space.finished(second) is not None
    assert Workspace(space.config).finished(first) is None  # the next run leaves out who was erased since


def test_a_day_that_is_over_is_something_new(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for day in (TODAY - 1, TODAY):
        (raw / "interactions" / f"day={day_to_name(day)}").mkdir(parents=True)
    wanted, clock = config(tmp_path, raw_dir=raw), SimulatedClock(NOW)
    today = Workspace(wanted, clock=clock).fingerprint(preprocess.JOB)
    clock.set(NOW + 3_600)
    assert Workspace(wanted, clock=clock).fingerprint(preprocess.JOB) == today
    clock.set(NOW + 86_400)
    tomorrow = Workspace(wanted, clock=clock).fingerprint(preprocess.JOB)
    assert tomorrow != today
    clock.set(NOW + 2 * 86_400)
    assert Workspace(wanted, clock=clock).fingerprint(preprocess.JOB) == tomorrow


def test_hidden_and_vanished_files_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = put(tmp_path, "tombstones")
    before = files_identity(place)
    put(tmp_path, "tombstones", name=".part-1.parquet.7.tmp")
    (place / ".hidden").mkdir()
    (place / ".hidden" / "part-2.parquet").write_text("rows")
    assert files_identity(place) == before
    listed = [*place.rglob("*"), place / "gone.parquet"]
    monkeypatch.setattr(Path, "rglob", lambda *_: listed)  # removed between the listing and the look at it
    assert files_identity(place) == before
    (place / "part-0.parquet").write_text("other rows")
    assert files_identity(place) != before
