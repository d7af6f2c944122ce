"""Workspace and runner with toy jobs: when is an output made, reused, made anew?"""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import DataError
from contracts.files import atomic_dir
from ray_apps.jobs.config import JobConfig
from ray_apps.jobs.runner import execute
from ray_apps.jobs.workspace import Job, Workspace, fingerprint_folder

CALLS: list[str] = []


def toy(name: str, sections: tuple[str, ...] = (), inputs: tuple[Job, ...] = ()) -> Job:
    """A job that notes its call and writes one file."""

    def run(workspace: Workspace, out: Path) -> str:
        CALLS.append(name)
        with atomic_dir(out) as folder:
            (folder / "text").write_text(f"{name} {len(CALLS)}")
        return f"{name} done"

    return Job(name, "Toy.", sections, inputs, run, fingerprint_folder(name))


FIRST = toy("preprocess", ("preprocess",))
SECOND = toy("embed", ("embed",), (FIRST,))
THIRD = toy("evaluate", (), (SECOND,))


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


def workspace(var_dir: Path, **values: object) -> Workspace:
    return Workspace(JobConfig.model_validate({"var_dir": var_dir, "simulator": {"size": "debug"}, **values}))


def run_all(space: Workspace, *forced: Job) -> list[str]:
    CALLS.clear()
    for job in (FIRST, SECOND, THIRD):
        execute(job, Workspace(space.config, force=job in forced))
    return list(CALLS)


def test_finished_jobs_are_reused_by_later_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_all(workspace(tmp_path)) == ["preprocess", "embed", "evaluate"]
    assert run_all(workspace(tmp_path)) == []
    assert "embed done (reused)" in capsys.readouterr().out


def test_a_changed_section_makes_its_job_and_the_later_ones_anew(tmp_path: Path) -> None:
    before = workspace(tmp_path)
    run_all(before)
    changed = workspace(tmp_path, embed={"seed": 5})
    assert run_all(changed) == ["embed", "evaluate"]
    assert changed.output(FIRST) == before.output(FIRST)
    assert changed.output(SECOND) != before.output(SECOND)
    assert run_all(before) == []


def test_a_forced_repetition_makes_the_later_jobs_anew(tmp_path: Path) -> None:
    space = workspace(tmp_path)
    run_all(space)
    assert run_all(space, SECOND) == ["embed", "evaluate"]
    assert (space.output(SECOND) / "text").read_text() == "embed 1"
    assert run_all(space) == []


def test_a_job_names_the_one_to_run_first(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no finished output of 'preprocess'.*run `python -m ray_apps.jobs.preprocess`"
    ):
        execute(SECOND, workspace(tmp_path))
    assert not CALLS


def test_a_lost_output_is_made_again(tmp_path: Path) -> None:
    space = workspace(tmp_path)
    run_all(space)
    (space.output(THIRD) / "text").unlink()
    space.output(THIRD).rmdir()
    assert run_all(space) == ["evaluate"]


def test_an_interrupted_repetition_does_not_count(tmp_path: Path) -> None:
    space = workspace(tmp_path)
    run_all(space)
    Workspace(space.config, force=True).begin(SECOND)
    assert space.finished(SECOND) is None
    assert run_all(space) == ["embed", "evaluate"]


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    space = workspace(tmp_path)
    record = space.begin(FIRST)
    target = space.root / record.output
    leftover = target.with_name(f".{target.name}.99999.tmp")
    leftover.mkdir()
    execute(FIRST, space)
    assert sorted(path.name for path in target.parent.iterdir()) == [target.name]


def test_var_may_move(tmp_path: Path) -> None:
    run_all(workspace(tmp_path / "a"))
    (tmp_path / "a").rename(tmp_path / "b")
    moved = workspace(tmp_path / "b")
    assert run_all(moved) == []
    assert moved.output(FIRST).is_relative_to(tmp_path / "b")


def test_two_configs_that_claim_one_folder_do_not_both_hold(tmp_path: Path) -> None:
    def run(_: Workspace, out: Path) -> str:
        CALLS.append("report")
        with atomic_dir(out):
            return ""

    report = Job("evaluate", "Toy.", ("embed",), (), run, lambda _workspace, _identity: "reports/v1")
    one, other = workspace(tmp_path), workspace(tmp_path, embed={"seed": 5})
    for space in (one, other, one, one):
        execute(report, space)
    assert CALLS == ["report"] * 3


def test_given_tables_are_used_as_they_are(tmp_path: Path) -> None:
    raw = tmp_path / "shop"
    (raw / "interactions" / "day=2026-01-01").mkdir(parents=True)
    table = raw / "interactions" / "day=2026-01-01" / "a.parquet"
    table.write_text("1")
    source = Job("simulate", "Toy.", ("simulator",), (), lambda *_: "never", fingerprint_folder("raw"))
    space = workspace(tmp_path / "var", raw_dir=raw)
    before = space.identity(source)
    assert space.output(source) == raw
    assert space.identity(source) == before
    table.write_text("changed")
    assert workspace(tmp_path / "var", raw_dir=raw).identity(source) != before


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    source = Job("simulate", "Toy.", ("simulator",), (), lambda *_: "never", fingerprint_folder("raw"))
    with pytest.raises(DataError, match=r"has no folder interactions/.*Leave raw_dir out to simulate a shop"):
        workspace(tmp_path / "var", raw_dir=tmp_path).identity(source)
