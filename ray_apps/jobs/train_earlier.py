"""Trains the retriever of earlier days, which scores the training rows of the ranker."""

from __future__ import annotations

import sys
from pathlib import Path

from ray_apps.cluster import keeping_ctrl_c
from ray_apps.console import describe_metrics
from ray_apps.jobs import embed, preprocess
from ray_apps.jobs.cli import main
from ray_apps.jobs.workspace import Job, Workspace, fingerprint_folder
from training.features.processed import open_processed
from training.trainers.ranker import Earlier, last_earlier_day
from training.trainers.two_tower import train_two_tower


def run(workspace: Workspace, out_dir: Path) -> str:
    """Writes the two-tower model of the earlier days."""
    processed_dir = workspace.output(preprocess.JOB)
    with keeping_ctrl_c():
        summary = train_two_tower(
            workspace.config.two_tower,
            processed_dir,
            workspace.output(embed.JOB),
            workspace.scratch(JOB),
            out_dir,
            last_earlier_day(workspace.config.ranker, open_processed(processed_dir)),
        )
    return describe_metrics(summary.metrics)


def earlier(workspace: Workspace) -> tuple[Earlier, ...]:
    """The retriever of the earlier days; none if the ranker does not use one."""
    if not JOB.applies(workspace.config):
        return ()
    last_day = last_earlier_day(workspace.config.ranker, open_processed(workspace.output(preprocess.JOB)))
    return (Earlier(workspace.output(JOB), last_day),)


JOB = Job(
    name="train_earlier",
    purpose="Trains a retriever of earlier days, which scores the ranker's training rows (ranker.scores=forward).",
    sections=("two_tower", "ranker.forward_share"),
    inputs=(preprocess.JOB, embed.JOB),
    run=run,
    place=fingerprint_folder("earlier"),
    uses_ray=True,
    applies=lambda config: config.ranker.scores == "forward",
)

if __name__ == "__main__":
    sys.exit(main(JOB))
