"""Training a ranker: from processed events, catalogue embeddings and a trained two-tower to the model's folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from contracts.catalogue import ItemFeatures
from contracts.clock import DAY_S
from contracts.errors import DataError
from training.embeddings import open_embeddings
from training.features.processed import Processed, open_processed
from training.features.session_counts import SessionCounts
from training.models.dlrm import DLRMConfig
from training.models.inputs import ItemTensors
from training.models.item_counts import ItemCounts
from training.models.loading import build_model, load_weights, open_two_tower
from training.models.mlp import MLPConfig, MLPRanker
from training.models.schema import ModelSchema
from training.trainers.config import TrainerConfig
from training.trainers.data import load_worker_data
from training.trainers.forward import Fold, ForwardTask
from training.trainers.parts import EARLIER
from training.trainers.ranking import LabelTask, RankerLossConfig, RankingTask
from training.trainers.ray_run import TrainJob, TrainSummary, run_training
from training.trainers.steps.loop import use_sparse_gradients


class RankerTrainConfig(TrainerConfig):
    """The ranking model and its training."""

    ranker: Literal["dlrm", "mlp"] = "dlrm"
    """Which ranker: `dlrm`, the reference's, or `mlp`, a small one over inputs of each query and item."""
    model: DLRMConfig = DLRMConfig()
    """Shape of the ranker `dlrm`."""
    mlp: MLPConfig = MLPConfig()
    """Shape of the ranker `mlp`."""
    scores: Literal["in_sample", "forward"] = "in_sample"
    """Retrieval scores of the training rows: `in_sample`, of a retriever that was trained on them; `forward`, of one
    that was trained on earlier days only, as in serving. Then only rows of the later days train the ranker."""
    forward_share: float = Field(default=0.25, gt=0, lt=1)
    """Share of the training days, the last ones, whose rows train the ranker with scores=forward."""
    max_rows: int = Field(default=1_000_000, ge=1)
    """With scores=forward, at most this many training rows of a worker; a random part of them."""
    ranker_rows: Literal["sampled_negatives", "label"] = "sampled_negatives"
    """Training rows: positives beside sampled negatives, or the `label` column of the interactions."""
    objective: RankerLossConfig = RankerLossConfig()
    """Negatives and loss; unused with ranker_rows=label."""
    validation_rows: int = Field(default=2_000, ge=1)
    """Most events of the validation day that are evaluated; each scores 300 retrieved items."""
    init_from: Path | None = None
    """Folder of a trained ranker of the same shape to start from."""

    @property
    def shape(self) -> DLRMConfig | MLPConfig:
        """Shape of the chosen ranker."""
        return self.mlp if self.ranker == "mlp" else self.model

    @model_validator(mode="after")
    def _rows_fit(self) -> Self:
        forward, listed = self.scores == "forward", self.objective.negatives == "list"
        if forward != listed:
            raise ValueError(
                f"scores={self.scores} with objective.negatives={self.objective.negatives}: forward rows are trained "
                "beside items of their retrieved list; set both, scores=forward and objective.negatives=list, or none"
            )
        if forward and self.ranker_rows == "label":
            raise ValueError("scores=forward with ranker_rows=label: labels need no retriever; set scores=in_sample")
        return self


def train_ranker(
    config: RankerTrainConfig,
    processed_dir: Path,
    embeddings_dir: Path,
    two_tower_dir: Path,
    storage_dir: Path,
    out_dir: Path,
    last_days: Mapping[str, int],
) -> TrainSummary:
    """Trains a ranker for each retriever but the earlier one and writes their folders; see `run_training`.

    Args:
        config: the ranker and its training.
        processed_dir: of preprocessing.
        embeddings_dir: of embedding.
        two_tower_dir: has the retriever of each part.
        storage_dir: folder of checkpoints.
        out_dir: has a folder for each part but `EARLIER`.
        last_days: last day that each part trains on, see `training.trainers.parts`.

    Raises:
        ConfigError: more workers than partitions, or other history days than the two-tower's.
        DataError: a folder does not hold what it should, there are fewer than two rows, or no labels.
    """
    folders = processed_dir, embeddings_dir, two_tower_dir
    parts = {
        part: partial(build_task, config, *folders, part=part, last_days=last_days)
        for part in last_days
        if part != EARLIER
    }
    return run_training(TrainJob(config.ranker, parts, config, folders), storage_dir, out_dir)


def build_task(
    config: RankerTrainConfig,
    processed_dir: Path,
    embeddings_dir: Path,
    two_tower_dir: Path,
    worker: int,
    num_workers: int,
    device: torch.device,
    *,
    part: str,
    last_days: Mapping[str, int],
) -> RankingTask:
    """One worker's task of a part."""
    processed, embeddings = open_processed(processed_dir), open_embeddings(embeddings_dir)
    items, end = processed.item_features(embeddings.text, embeddings.image), last_days[part]
    data = load_worker_data(
        processed,
        items,
        worker=worker,
        num_workers=num_workers,
        validation_rows=config.validation_rows,
        last_day=end,
    ).knowing_its_items(device)
    if config.ranker_rows == "label" and data.events.label is None:
        raise DataError("ranker_rows is label, but the interactions have no label column; use sampled_negatives")
    retrieval = open_two_tower(two_tower_dir / part, items).to(device)
    schema = ModelSchema.of(processed.transforms, items)
    model = build_model(config.ranker, config.shape.model_dump(), schema, ItemTensors(items, data.encoded_id))
    if config.init_from is not None:
        load_weights(model, config.init_from)
    if isinstance(model, MLPRanker) and model.counts is not None:
        _freeze(model.counts, processed, end)
    use_sparse_gradients(model, config.sparse_above)
    model.to(device)
    if config.scores == "forward":
        before = {two_tower_dir / name: day for name, day in last_days.items() if day < end}
        folds = _folds(processed, items, model, before, end)
        return ForwardTask(model, retrieval, data, config.objective, folds, config.max_rows)
    task = LabelTask if config.ranker_rows == "label" else RankingTask
    return task(model, retrieval, data, config.objective)


def _folds(
    processed: Processed, items: ItemFeatures, model: nn.Module, before: Mapping[Path, int], end: int
) -> list[Fold]:
    """The retrievers of earlier days, each with the days from where it stopped to where the next one did.

    Args:
        processed: the processed run.
        items: its catalogue.
        model: the ranker.
        before: last day of each retriever's training, by folder, in order of time.
        end: last day that the ranker trains on.
    """
    folds = []
    for (folder, day), last_day in zip(before.items(), [*list(before.values())[1:], end], strict=True):
        counts = None
        if isinstance(model, MLPRanker) and model.counts is not None:
            counts = ItemCounts(model.schema.num_item_ids, model.counts.num_following)
            _freeze(counts, processed, day)
        folds.append(Fold(open_two_tower(folder, items), counts, day + 1, last_day))
    return folds


def _freeze(counts: ItemCounts, processed: Processed, last_day: int) -> None:
    """Counts the events of all workers up to a day."""
    parts = (processed.events([part]) for part in range(processed.num_partitions))
    encoded_id, num_ids, calendar = processed.item_encoded_id, len(counts.log_rate), processed.transforms.calendar
    seen = SessionCounts.of(parts, encoded_id, num_ids, last_day)
    begin, end = calendar.start_of_day(processed.info.first_day), calendar.start_of_day(last_day + 1)
    days = np.maximum(end - np.maximum(processed.launched_at, begin), 0) / DAY_S
    of_ids = np.bincount(encoded_id, days, num_ids).astype(np.float32)
    counts.freeze(seen.counts, of_ids, seen.before, seen.after, seen.times)
