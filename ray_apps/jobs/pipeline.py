"""The main job: every step from raw tables to filled stores, finished ones reused."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ray_apps.console import say
from ray_apps.jobs import (
    build_before,
    build_index,
    embed,
    evaluate,
    materialize,
    preprocess,
    publish,
    simulate,
    train_ranker,
    train_two_tower,
)
from ray_apps.jobs.cli import run_command
from ray_apps.jobs.runner import execute
from ray_apps.jobs.workspace import Job, Workspace

JOBS = (
    simulate.JOB,
    preprocess.JOB,
    embed.JOB,
    train_two_tower.JOB,
    train_ranker.JOB,
    build_index.JOB,
    build_before.JOB,
    evaluate.JOB,
    publish.JOB,
    materialize.JOB,
)


def run_pipeline(workspace: Workspace, jobs: Sequence[Job] = JOBS) -> dict[str, float]:
    """Runs jobs in order; returns the seconds of each, 0 where its output was reused."""
    seconds = {}
    for job in jobs:
        if not job.applies(workspace.config):
            continue
        if workspace.is_given(job):
            say(job.name, f"tables given in {workspace.output(job)}")
            continue
        seconds[job.name] = execute(job, workspace)
    return seconds


def describe() -> str:
    """The jobs in order and what each does."""
    lines = [f"  {job.name:<16} {job.purpose}" for job in JOBS]
    return "\n".join(["Runs every job in order and reuses what is finished:", "", *lines])


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    return run_command("pipeline", describe(), run_pipeline, argv)


if __name__ == "__main__":
    sys.exit(main())
