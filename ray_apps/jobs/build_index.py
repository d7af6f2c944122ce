"""Builds the retrieval index and writes the artifact bundle, verified by opening it."""

from __future__ import annotations

import sys
from pathlib import Path

from ray_apps.jobs import embed, preprocess, simulate, train_dlrm, train_two_tower
from ray_apps.jobs.cli import main
from ray_apps.jobs.workspace import Job, Workspace, digest
from training.bundle_writer import BundleInputs, write_bundle
from training.features.processed import open_processed


def run(workspace: Workspace, bundle_dir: Path) -> str:
    """Writes the bundle."""
    raise NotImplementedError


def place(workspace: Workspace, identity: str) -> str:
    """Folder of the bundle; its name is its version: shop, last day of the data, digest of what it is made from."""
    info = open_processed(workspace.output(preprocess.JOB)).info
    return f"bundles/{workspace.config.shop}-{info.last_day}-{digest(identity)[:8]}"


JOB = Job(
    name="build_index",
    purpose="Builds the retrieval index and writes and verifies the artifact bundle.",
    sections=("index",),
    inputs=(simulate.JOB, preprocess.JOB, embed.JOB, train_two_tower.JOB, train_dlrm.JOB),
    run=run,
    place=place,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
