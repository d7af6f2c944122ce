"""Checks the raw tables and computes splits, transforms and point-in-time features with Ray Data."""

from __future__ import annotations

import sys
from pathlib import Path

from ray_apps.jobs import simulate
from ray_apps.jobs.cli import main
from ray_apps.jobs.workspace import Job, Workspace, fingerprint_folder
from training.features.preprocess import preprocess


def run(workspace: Workspace, out_dir: Path) -> str:
    """Writes the processed run."""
    config = workspace.config
    info = preprocess(config.preprocess, workspace.output(simulate.JOB), out_dir, shop=config.shop)
    return str(info)


JOB = Job(
    name="preprocess",
    purpose="Checks the raw tables, splits them by day and computes transforms and point-in-time features.",
    sections=("preprocess",),
    inputs=(simulate.JOB,),
    run=run,
    place=fingerprint_folder("processed"),
    uses_ray=True,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
