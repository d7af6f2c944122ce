"""Embeds product texts and pictures with Ray Data actor pools."""

from __future__ import annotations

import sys
from pathlib import Path

from ray_apps.jobs import preprocess
from ray_apps.jobs.cli import main
from ray_apps.jobs.workspace import Job, Workspace, fingerprint_folder
from training.embeddings import embed_catalogue


def run(workspace: Workspace, out_dir: Path) -> str:
    """Writes text and picture embeddings of the catalogue."""
    summary = embed_catalogue(
        workspace.config.embed, workspace.output(preprocess.JOB), workspace.cache("embeddings"), out_dir
    )
    encoded = summary.texts_encoded + summary.images_encoded
    return (
        f"{summary.num_texts:,} texts and {summary.num_images:,} pictures of {summary.num_items:,} items, "
        f"{encoded:,} encoded now, {summary.unreadable:,} pictures unreadable"
    )


JOB = Job(
    name="embed",
    purpose="Embeds product texts and pictures and reduces them by PCA; raw vectors are cached by content.",
    sections=("embed",),
    inputs=(preprocess.JOB,),
    run=run,
    place=fingerprint_folder("embeddings"),
    uses_ray=True,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
