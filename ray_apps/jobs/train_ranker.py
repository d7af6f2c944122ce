"""Trains the ranking model with Ray Train."""

from __future__ import annotations

import sys
from pathlib import Path

from ray_apps.cluster import keeping_ctrl_c
from ray_apps.jobs import embed, preprocess, train_two_tower
from ray_apps.jobs.cli import main
from ray_apps.jobs.workspace import Job, Workspace, fingerprint_folder
from training.trainers.ranker import train_ranker


def run(workspace: Workspace, out_dir: Path) -> str:
    """Writes the ranking models."""
    with keeping_ctrl_c():
        summary = train_ranker(
            workspace.config.ranker,
            workspace.output(preprocess.JOB),
            workspace.output(embed.JOB),
            workspace.output(train_two_tower.JOB),
            workspace.scratch(JOB),
            out_dir,
            train_two_tower.days(workspace),
        )
    return str(summary)


JOB = Job(
    name="train_ranker",
    purpose="Trains the ranking models (ranker.ranker chooses which); resumes from its last checkpoint.",
    sections=("ranker", "refit"),
    inputs=(preprocess.JOB, embed.JOB, train_two_tower.JOB),
    run=run,
    place=fingerprint_folder("ranker"),
    uses_ray=True,
    schema_version=3,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
