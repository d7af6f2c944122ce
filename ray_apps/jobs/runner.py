"""Runs jobs: reuses the output of finished ones; each prints one line with its time."""

from __future__ import annotations

import time

from contracts.errors import DataError
from ray_apps.cluster import connect
from ray_apps.console import say
from ray_apps.jobs.workspace import Job, Workspace


def execute(job: Job, workspace: Workspace) -> float:
    """Runs one job unless its output is there.

    Args:
        job: what to run.
        workspace: the var folder and config.

    Returns:
        Seconds that it took, 0 when it was reused.

    Raises:
        DataError: a job that it reads from has not been run, or the config does not ask for this one.
    """
    if not job.applies(workspace.config):
        raise DataError(f"this config does not use {job.name!r}: {job.purpose}")
    started = time.perf_counter()
    if job.place is None:
        if job.uses_ray:
            connect(workspace.config.ray)
        say(job.name, job.run(workspace, workspace.root), time.perf_counter() - started)
        return time.perf_counter() - started
    done = workspace.finished(job)
    if done is not None and not workspace.force:
        say(job.name, f"{done.summary} (reused)")
        return 0.0
    if job.uses_ray:
        connect(workspace.config.ray)
    record = workspace.begin(job)
    summary = job.run(workspace, workspace.root / record.output)
    seconds = time.perf_counter() - started
    workspace.finish(job, record, seconds=seconds, summary=summary)
    say(job.name, summary, seconds)
    return seconds
