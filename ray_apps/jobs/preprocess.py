"""Checks the raw tables and computes splits, transforms and point-in-time features with Ray Data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import numpy as np

from contracts import columns as c
from contracts import records as r
from contracts.clock import Clock, ShopCalendar, day_to_name
from ray_apps.jobs import simulate
from ray_apps.jobs.cli import main
from ray_apps.jobs.config import JobConfig
from ray_apps.jobs.workspace import Job, Workspace, fingerprint_folder
from training.features.preprocess import preprocess
from training.features.processed import REPORT

_SETTLED_AFTER_S: Final = 900


def run(workspace: Workspace, out_dir: Path) -> str:
    """Writes the processed run."""
    config = workspace.config
    info = preprocess(
        config.preprocess,
        workspace.output(simulate.JOB),
        out_dir,
        shop=config.shop,
        records_dir=records(config),
        records_end=records_end(config, workspace.clock),
        clock=workspace.clock,
        schema=config.features.to_schema(),
    )
    kept_out = sum(info.kept_out.values())
    return (
        f"{info.counts['events']:,} events of {info.counts['subjects']:,} subjects, "
        f"{info.counts['train_positives']:,} positives to train on, test days "
        f"{day_to_name(info.test_day)} to {day_to_name(info.last_day)}"
        + (f"; {kept_out:,} interactions kept out, see {out_dir / REPORT}" if kept_out else "")
    )


def records(config: JobConfig) -> Path | None:
    """Folder of what serving recorded, if there is one."""
    folder = r.shop_records(config.stores.records_dir, config.shop)
    return folder if folder.is_dir() else None


def records_end(config: JobConfig, clock: Clock) -> int | None:
    """Shop-local day before which records are read: today, or yesterday if consumers still write yesterday's."""
    if not config.use_records:
        return None
    return int(ShopCalendar(config.preprocess.timezone).day(np.array(clock.now() - _SETTLED_AFTER_S)))


def unfinished(workspace: Workspace) -> list[Path]:
    """Today's folder of interactions, which is not read yet: once the day is over, the job has new input."""
    today = int(ShopCalendar(workspace.config.preprocess.timezone).day(np.array(workspace.clock.now())))
    folder = workspace.output(simulate.JOB) / c.INTERACTIONS.name / f"{c.DAY}={day_to_name(today)}"
    return [folder] if folder.is_dir() else []


def recorded(config: JobConfig, clock: Clock) -> list[Path]:
    """Recorded files whose change alone changes the output; a new snapshot affects only events after it."""
    folder, end = records(config), records_end(config, clock)
    if folder is None:
        return []
    tables = () if end is None else (r.INTERACTIONS, r.USER_ACTIVITY)
    days = [day for table in tables for day in sorted((folder / table.name).glob(f"{c.DAY}=*"))]
    closed = [day for day in days if day.name < f"{c.DAY}={day_to_name(end or 0)}"]
    return [*closed, *(path for path in (folder / r.TOMBSTONES.name,) if path.is_dir())]


JOB = Job(
    name="preprocess",
    purpose="Checks the raw tables, splits them by day and computes transforms and point-in-time features.",
    sections=("features", "preprocess"),
    inputs=(simulate.JOB,),
    run=run,
    place=fingerprint_folder("processed"),
    uses_ray=True,
    files=lambda workspace: [*unfinished(workspace), *recorded(workspace.config, workspace.clock)],
)

if __name__ == "__main__":
    sys.exit(main(JOB))
