"""Trains the ranking model with Ray Train."""

from __future__ import annotations

import sys
from pathlib import Path

from ray_apps.cluster import keeping_ctrl_c
from ray_apps.console import describe_metrics
from ray_apps.jobs import embed, preprocess, train_earlier, train_two_tower
from ray_apps.jobs.cli import main
from ray_apps.jobs.workspace import Job, Workspace, fingerprint_folder
from training.trainers.ranker import train_ranker


def run(workspace: Workspace, out_dir: Path) -> str:
    """Writes the ranking model."""
    with keeping_ctrl_c():
        summary = train_ranker(
            workspace.config.ranker,
            workspace.output(preprocess.JOB),
            workspace.output(embed.JOB),
            workspace.output(train_two_tower.JOB),
            workspace.scratch(JOB),
            out_dir,
            train_earlier.earlier(workspace),
        )
    return describe_metrics(summary.metrics)


JOB = Job(
    name="train_ranker",
    purpose="Trains the ranking model (ranker.ranker chooses which); resumes from its last checkpoint.",
    sections=("ranker",),
    inputs=(preprocess.JOB, embed.JOB, train_earlier.JOB, train_two_tower.JOB),
    run=run,
    place=fingerprint_folder("ranker"),
    uses_ray=True,
    schema_version=3,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
