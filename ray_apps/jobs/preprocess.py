"""Checks the raw tables and computes splits, transforms and point-in-time features with Ray Data."""

from __future__ import annotations

import sys
from pathlib import Path

from contracts import records as r
from contracts.clock import day_to_name
from ray_apps.jobs import simulate
from ray_apps.jobs.cli import main
from ray_apps.jobs.config import JobConfig
from ray_apps.jobs.workspace import Job, Workspace, fingerprint_folder
from training.features.preprocess import preprocess
from training.features.processed import REPORT


def run(workspace: Workspace, out_dir: Path) -> str:
    """Writes the processed run."""
    config = workspace.config
    info = preprocess(
        config.preprocess, workspace.output(simulate.JOB), out_dir, shop=config.shop, records_dir=records(config)
    )
    kept_out = sum(info.kept_out.values())
    return (
        f"{info.counts['events']:,} events of {info.counts['subjects']:,} subjects, "
        f"{info.counts['train_positives']:,} positives to train on, test days "
        f"{day_to_name(info.test_day)} to {day_to_name(info.last_day)}"
        + (f"; {kept_out:,} interactions kept out, see {out_dir / REPORT}" if kept_out else "")
    )


def records(config: JobConfig) -> Path | None:
    """Folder of what serving recorded, if there is one and the config wants it."""
    folder = r.shop_records(config.stores.records_dir, config.shop)
    return folder if config.use_records and folder.is_dir() else None


def recorded(config: JobConfig) -> list[Path]:
    """What is read of the records and may change the output by itself: a snapshot matters to later events only."""
    if (folder := records(config)) is None:
        return []
    tables = (r.INTERACTIONS, r.USER_ACTIVITY, r.TOMBSTONES)
    return [path for table in tables if (path := folder / table.name).is_dir()]


JOB = Job(
    name="preprocess",
    purpose="Checks the raw tables, splits them by day and computes transforms and point-in-time features.",
    sections=("preprocess",),
    inputs=(simulate.JOB,),
    run=run,
    place=fingerprint_folder("processed"),
    uses_ray=True,
    files=recorded,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
