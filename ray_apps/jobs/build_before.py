"""Writes the bundle of the models before the refit, which the report compares with the served one."""

from __future__ import annotations

import sys
from pathlib import Path

from ray_apps.jobs import build_index
from ray_apps.jobs.cli import main
from ray_apps.jobs.workspace import Job, Workspace, fingerprint_folder
from training.trainers.parts import TRAINED


def run(workspace: Workspace, bundle_dir: Path) -> str:
    """Writes the bundle."""
    return build_index.write(workspace, bundle_dir, TRAINED)


JOB = Job(
    name="build_before",
    purpose="Writes the bundle of the models before the refit, for the report (refit=true).",
    sections=build_index.JOB.sections,
    inputs=build_index.JOB.inputs,
    run=run,
    place=fingerprint_folder("before"),
    applies=lambda config: config.refit,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
