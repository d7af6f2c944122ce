"""Training the two-tower: from processed events and catalogue embeddings to the model's folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch

from training.embeddings import open_embeddings
from training.features.processed import open_processed
from training.models.inputs import ItemTensors
from training.models.loading import TWO_TOWER, build_model, load_weights
from training.models.schema import ModelSchema
from training.models.two_tower import TwoTower, TwoTowerConfig
from training.trainers.config import TrainerConfig
from training.trainers.data import load_worker_data
from training.trainers.ray_run import TrainJob, TrainSummary, run_training
from training.trainers.retrieval import NegativesConfig, RetrievalTask
from training.trainers.steps.loop import use_sparse_gradients


class TwoTowerTrainConfig(TrainerConfig):
    """The retrieval model and its training."""

    model: TwoTowerConfig = TwoTowerConfig()
    """Shape of the towers."""
    negatives: NegativesConfig = NegativesConfig()
    """Candidates that a query's positive is compared with."""
    init_from: Path | None = None
    """Folder of a trained two-tower of the same shape to start from."""


def train_two_tower(
    config: TwoTowerTrainConfig,
    processed_dir: Path,
    embeddings_dir: Path,
    storage_dir: Path,
    out_dir: Path,
    last_days: Mapping[str, int],
) -> TrainSummary:
    """Trains a two-tower on the days up to each of some last days and writes their folders; see `run_training`.

    Args:
        config: the model and its training.
        processed_dir: of preprocessing.
        embeddings_dir: of embedding.
        storage_dir: folder of checkpoints.
        out_dir: has a folder for each part.
        last_days: last day to train on by part, see `training.trainers.parts`.

    Raises:
        ConfigError: more workers than partitions.
        DataError: a folder does not hold what it should, or there are fewer than two rows.
    """
    parts = {
        part: partial(build_task, config, processed_dir, embeddings_dir, last_day=day)
        for part, day in last_days.items()
    }
    return run_training(TrainJob(TWO_TOWER, parts, config, (processed_dir, embeddings_dir)), storage_dir, out_dir)


def build_task(
    config: TwoTowerTrainConfig,
    processed_dir: Path,
    embeddings_dir: Path,
    worker: int,
    num_workers: int,
    device: torch.device,
    *,
    last_day: int | None = None,
) -> RetrievalTask:
    """One worker's task on the days up to a last day; None = the last training day."""
    processed, embeddings = open_processed(processed_dir), open_embeddings(embeddings_dir)
    items = processed.item_features(embeddings.text, embeddings.image)
    data = load_worker_data(
        processed,
        items,
        worker=worker,
        num_workers=num_workers,
        validation_rows=config.validation_rows,
        last_day=last_day,
    ).knowing_its_items(device)
    schema = ModelSchema.of(processed.transforms, items)
    model = build_model(TWO_TOWER, config.model.model_dump(), schema, ItemTensors(items, data.encoded_id))
    assert isinstance(model, TwoTower)
    if config.init_from is None:
        model.start_from_counts(data.counts(device).cpu())
    else:
        load_weights(model, config.init_from)
    use_sparse_gradients(model, config.sparse_above)
    return RetrievalTask(model.to(device), data, config.negatives, config.batch_size)
