"""Compacts what serving recorded: one file a day, each event once, clicks filled in, erased users removed."""

from __future__ import annotations

import sys
from pathlib import Path

from contracts.records import shop_records
from ray_apps.jobs.cli import main
from ray_apps.jobs.workspace import Job, Workspace
from training.compaction import compact


def run(workspace: Workspace, _: Path) -> str:
    """Compacts the shop's records."""
    config = workspace.config
    folder = shop_records(config.stores.records_dir, config.shop)
    done = compact(folder, config.compact, workspace.clock.now())
    return (
        f"{done.events:,} events in {folder}; {done.days} days written anew, {done.repeats:,} repeats and "
        f"{done.erased:,} rows of erased users removed, {done.clicks:,} impressions clicked"
    )


JOB = Job(
    name="compact",
    purpose="Compacts what serving recorded: one file a day, each event once, clicks filled in, erased users removed.",
    sections=("compact", "stores"),
    inputs=(),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
