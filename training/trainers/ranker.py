"""Training a ranker: from processed events, catalogue embeddings and a trained two-tower to the model's folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from contracts.errors import DataError
from training.embeddings import open_embeddings
from training.features.processed import open_processed
from training.models.dlrm import DLRMConfig
from training.models.inputs import ItemTensors
from training.models.loading import build_model, load_weights, open_two_tower
from training.models.schema import ModelSchema
from training.trainers.config import TrainerConfig
from training.trainers.data import load_worker_data
from training.trainers.ranking import LabelTask, RankerLossConfig, RankingTask
from training.trainers.ray_run import TrainJob, TrainSummary, run_training
from training.trainers.steps.loop import use_sparse_gradients


class RankerTrainConfig(TrainerConfig):
    """The ranking model and its training."""

    ranker: Literal["dlrm"] = "dlrm"
    """Which ranker."""
    model: DLRMConfig = DLRMConfig()
    """Shape of the model."""
    ranker_rows: Literal["sampled_negatives", "label"] = "sampled_negatives"
    """Training rows: positives beside sampled negatives, or the `label` column of the interactions."""
    objective: RankerLossConfig = RankerLossConfig()
    """Negatives and loss; unused with ranker_rows=label."""
    validation_rows: int = Field(default=2_000, ge=1)
    """Most events of the validation day that are evaluated; each scores 300 retrieved items."""
    init_from: Path | None = None
    """Folder of a trained ranker of the same shape to start from."""


def train_ranker(
    config: RankerTrainConfig,
    processed_dir: Path,
    embeddings_dir: Path,
    two_tower_dir: Path,
    storage_dir: Path,
    out_dir: Path,
) -> TrainSummary:
    """Trains the ranker on the training days and writes its folder; see `run_training`.

    Raises:
        ConfigError: more workers than partitions, or other history days than the two-tower's.
        DataError: a folder does not hold what it should, there are fewer rows than a batch, or no labels.
    """
    build = partial(build_task, config, processed_dir, embeddings_dir, two_tower_dir)
    job = TrainJob(config.ranker, build, config, (processed_dir, embeddings_dir, two_tower_dir))
    return run_training(job, storage_dir, out_dir)


def build_task(
    config: RankerTrainConfig,
    processed_dir: Path,
    embeddings_dir: Path,
    two_tower_dir: Path,
    worker: int,
    num_workers: int,
    device: torch.device,
) -> RankingTask:
    """One worker's task."""
    processed, embeddings = open_processed(processed_dir), open_embeddings(embeddings_dir)
    items = processed.item_features(embeddings.text, embeddings.image)
    data = load_worker_data(
        processed, items, worker=worker, num_workers=num_workers, validation_rows=config.validation_rows
    )
    if config.ranker_rows == "label" and data.events.label is None:
        raise DataError("ranker_rows is label, but the interactions have no label column; use sampled_negatives")
    retrieval = open_two_tower(two_tower_dir, items)
    schema = ModelSchema.of(processed.transforms, items)
    model = build_model(config.ranker, config.model.model_dump(), schema, ItemTensors(items, data.encoded_id))
    if config.init_from is not None:
        load_weights(model, config.init_from)
    use_sparse_gradients(model, config.sparse_above)
    task = LabelTask if config.ranker_rows == "label" else RankingTask
    return task(model.to(device), retrieval.to(device), data, config.objective)
