"""Trains the retrieval model with Ray Train."""

from __future__ import annotations

import sys
from pathlib import Path

from ray_apps.cluster import keeping_ctrl_c
from ray_apps.console import describe_metrics
from ray_apps.jobs import embed, preprocess
from ray_apps.jobs.cli import main
from ray_apps.jobs.workspace import Job, Workspace, fingerprint_folder
from training.trainers.two_tower import train_two_tower


def run(workspace: Workspace, out_dir: Path) -> str:
    """Writes the two-tower model and the candidate embeddings."""
    with keeping_ctrl_c():
        summary = train_two_tower(
            workspace.config.two_tower,
            workspace.output(preprocess.JOB),
            workspace.output(embed.JOB),
            workspace.scratch(JOB),
            out_dir,
        )
    return describe_metrics(summary.metrics)


JOB = Job(
    name="train_two_tower",
    purpose="Trains the two-tower retrieval model and embeds every candidate; resumes from its last checkpoint.",
    sections=("two_tower",),
    inputs=(preprocess.JOB, embed.JOB),
    run=run,
    place=fingerprint_folder("two_tower"),
    uses_ray=True,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
