"""Trains the retrieval model with Ray Train."""

from __future__ import annotations

import sys
from pathlib import Path

from ray_apps.cluster import keeping_ctrl_c
from ray_apps.jobs import embed, preprocess
from ray_apps.jobs.cli import main
from ray_apps.jobs.workspace import Job, Workspace, fingerprint_folder
from training.features.processed import open_processed
from training.trainers.parts import last_days
from training.trainers.two_tower import train_two_tower


def run(workspace: Workspace, out_dir: Path) -> str:
    """Writes the two-tower models and their candidate embeddings."""
    with keeping_ctrl_c():
        summary = train_two_tower(
            workspace.config.two_tower,
            workspace.output(preprocess.JOB),
            workspace.output(embed.JOB),
            workspace.scratch(JOB),
            out_dir,
            days(workspace),
        )
    return str(summary)


def days(workspace: Workspace) -> dict[str, int]:
    """The models that are trained, with the last day of each."""
    config = workspace.config
    share = config.ranker.forward_share if config.ranker.scores == "forward" else None
    return last_days(open_processed(workspace.output(preprocess.JOB)).info, share, refit=config.refit)


JOB = Job(
    name="train_two_tower",
    purpose="Trains the two-tower retrieval models and embeds every candidate; resumes from its last checkpoint.",
    sections=("two_tower", "ranker.scores", "ranker.forward_share", "refit"),
    inputs=(preprocess.JOB, embed.JOB),
    run=run,
    place=fingerprint_folder("two_tower"),
    uses_ray=True,
    schema_version=2,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
