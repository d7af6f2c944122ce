"""Builds the retrieval index and writes the artifact bundle, verified by opening it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from contracts.clock import day_to_name
from ray_apps.jobs import embed, preprocess, train_ranker, train_two_tower
from ray_apps.jobs.cli import main
from ray_apps.jobs.workspace import Job, Workspace, digest
from training.bundle_writer import BundleInputs, write_bundle
from training.embeddings import open_embeddings
from training.features.processed import open_processed
from training.held_out_queries import QueryGroup, held_out_queries
from training.index import build_index
from training.models.loading import open_two_tower
from training.trainers.parts import REFIT, TRAINED


def run(workspace: Workspace, bundle_dir: Path) -> str:
    """Writes the bundle of the served models."""
    return write(workspace, bundle_dir, REFIT if workspace.config.refit else TRAINED)


def write(workspace: Workspace, bundle_dir: Path, part: str) -> str:
    """Writes the bundle of a part's models, see `training.trainers.parts`."""
    two_towers, rankers = workspace.output(train_two_tower.JOB), workspace.output(train_ranker.JOB)
    two_tower_dir = two_towers / part
    index_file = workspace.scratch(JOB) / "faiss.index"
    index_file.parent.mkdir(parents=True, exist_ok=True)
    index = build_index(
        workspace.config.index, np.load(two_tower_dir / "candidate.npy"), index_file, _queries(workspace, two_tower_dir)
    )
    inputs = BundleInputs(
        processed_dir=workspace.output(preprocess.JOB),
        embeddings_dir=workspace.output(embed.JOB),
        two_tower_dir=two_tower_dir,
        ranker_dir=rankers / part,
        index_file=index_file,
        index_metrics=index.metrics(),
        judged_dirs=(two_towers / TRAINED, rankers / TRAINED),
        config=workspace.config.model_dump(mode="json"),
        seed=workspace.config.seed,
    )
    write_bundle(inputs, bundle_dir.parent, bundle_dir.name)
    return f"bundle {bundle_dir.name} with an {index.kind} index of {index.num_items:,} items"


def _queries(workspace: Workspace, two_tower_dir: Path) -> Sequence[QueryGroup]:
    """Queries that measure ANN recall."""
    processed = open_processed(workspace.output(preprocess.JOB))
    embeddings = open_embeddings(workspace.output(embed.JOB))
    items = processed.item_features(embeddings.text, embeddings.image)
    two_tower = open_two_tower(two_tower_dir, items)
    config = workspace.config.index
    return held_out_queries(processed, items, two_tower, config.num_recall_queries, config.seed)


def place(workspace: Workspace, identity: str) -> str:
    """Folder of the bundle; its name is its version: shop, last day of the data, digest of the inputs."""
    info = open_processed(workspace.output(preprocess.JOB)).info
    return f"bundles/{workspace.config.shop}-{day_to_name(info.last_day)}-{digest(identity)[:8]}"


JOB = Job(
    name="build_index",
    purpose="Builds the retrieval index and writes and verifies the artifact bundle.",
    sections=("index",),
    inputs=(preprocess.JOB, embed.JOB, train_two_tower.JOB, train_ranker.JOB),
    run=run,
    place=place,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
