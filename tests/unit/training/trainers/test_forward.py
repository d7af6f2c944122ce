from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from contracts.config import validate
from contracts.errors import ConfigError, DataError
from training.models.inputs import ItemTensors
from training.models.item_counts import ItemCounts
from training.models.mlp import MLPConfig, MLPRanker
from training.models.schema import ModelSchema
from training.models.two_tower import TwoTower
from training.trainers.config import TrainerConfig
from training.trainers.data import WorkerData
from training.trainers.forward import Fold, ForwardBatch, ForwardTask
from training.trainers.ranker import RankerTrainConfig
from training.trainers.ranking import RankerLossConfig
from training.trainers.steps.loop import fit

CONFIG = TrainerConfig(epochs=8, batch_size=32, learning_rate=0.01, warmup_steps=4, threads=1, validation_rows=40)


def make_task(
    data: WorkerData, schema: ModelSchema, retrieval: TwoTower, folds: list[Fold], rows: int = 1_000, **loss: Any
) -> ForwardTask:
    torch.manual_seed(0)
    shape = MLPConfig(history_length=4, within=None, dropout=0)
    model = MLPRanker(shape, schema, ItemTensors(data.items, data.encoded_id))
    return ForwardTask(model, retrieval, data, RankerLossConfig(negatives="list", **loss), folds, rows)


def all_of(task: ForwardTask) -> ForwardBatch:
    batch = task.build(task.units.ids)
    assert isinstance(batch, ForwardBatch)
    return batch


def test_only_the_rows_of_the_folds_are_trained(
    toy_data: WorkerData, toy_schema: ModelSchema, retrieval: TwoTower
) -> None:
    folds = [Fold(retrieval, None, 20_008, 20_008), Fold(retrieval, None, 20_010, 20_011)]

    batch = all_of(make_task(toy_data, toy_schema, retrieval, folds))

    assert sorted(set(zip(batch.day.tolist(), batch.fold.tolist(), strict=True))) == [(8, 0), (10, 1), (11, 1)]
    assert len(batch) == 3 * 80  # two events a day of 40 users


def test_a_list_has_the_positive_first_and_launched_others(
    toy_data: WorkerData, toy_schema: ModelSchema, retrieval: TwoTower
) -> None:
    folds = [Fold(retrieval, None, 20_009, 20_010)]

    few = all_of(make_task(toy_data, toy_schema, retrieval, folds, num_negatives=5))
    many = all_of(make_task(toy_data, toy_schema, retrieval, folds, num_negatives=50))

    assert few.items.shape == (160, 6)
    for batch in (few, many):
        assert torch.equal(batch.items[:, 0], batch.positives)
        for items, number in zip(batch.items.tolist(), batch.others.tolist(), strict=True):
            listed = [item for item in items if item >= 0]
            assert len(listed) == len(set(listed)) == min(number + 1, len(items))
    # 28 items are launched before day 10, and two more on it
    assert set(many.others[many.day == 9].tolist()) == {27}
    assert set(many.others[many.day == 10].tolist()) == {29}
    assert len(set(few.items[:, 1].tolist())) > 10  # drawn, not the first ones


def test_the_loss_over_the_whole_list_by_hand(
    toy_data: WorkerData, toy_schema: ModelSchema, retrieval: TwoTower
) -> None:
    task = make_task(toy_data, toy_schema, retrieval, [Fold(retrieval, None, 20_009, 20_009)], num_negatives=50)
    batch = task.build(task.units.ids[:3])
    assert isinstance(batch, ForwardBatch)
    task.model.eval()

    loss = task.loss(batch, torch.Generator())

    with torch.no_grad():
        logits = task.model.logits(batch.queries, task._group(batch, batch.items, batch.scores))
    logits = logits.masked_fill(batch.items < 0, -torch.inf)
    torch.testing.assert_close(loss, -logits.log_softmax(dim=1)[:, 0].mean())


def test_a_draw_is_corrected_for_its_share(toy_data: WorkerData, toy_schema: ModelSchema, retrieval: TwoTower) -> None:
    task = make_task(toy_data, toy_schema, retrieval, [Fold(retrieval, None, 20_009, 20_009)], num_negatives=9)
    task.model.score_weight.data.zero_()
    for parameter in task.model.mlp.parameters():
        parameter.data.zero_()

    loss = task.loss(all_of(task), torch.Generator())

    assert loss.item() == pytest.approx(math.log(1 + 27))  # all logits equal: 9 of 27 others stand for three each


def test_each_fold_has_counts_of_its_own(toy_data: WorkerData, toy_schema: ModelSchema, retrieval: TwoTower) -> None:
    counts = [ItemCounts(toy_schema.num_item_ids, 64) for _ in range(2)]
    counts[1].log_rate.fill_(1.0)
    folds = [Fold(retrieval, counts[0], 20_008, 20_008), Fold(retrieval, counts[1], 20_009, 20_009)]
    task = make_task(toy_data, toy_schema, retrieval, folds, num_negatives=50)
    task.model.eval()
    batch = all_of(task)

    def loss(fold: int, number: int) -> float:
        rows = task.units.ids[batch.fold.numpy() == fold]
        part = task.build(rows)
        return task.loss(replace(part, fold=torch.full_like(part.fold, number)), torch.Generator()).item()

    together = task.loss(batch, torch.Generator()).item()

    assert loss(0, 0) != pytest.approx(loss(0, 1), abs=1e-6)
    assert together == pytest.approx((loss(0, 0) + loss(1, 1)) / 2)


def test_training_learns_the_users_categories(
    toy_data: WorkerData, toy_schema: ModelSchema, retrieval: TwoTower
) -> None:
    task = make_task(toy_data, toy_schema, retrieval, [Fold(retrieval, None, 20_004, 20_011)], num_negatives=20)
    with torch.no_grad():
        before = task.evaluate()

    after = fit(task, CONFIG)

    assert after["hr@10"] > max(0.8, before["hr@10"])  # ten items of a category


def test_rows_are_limited(toy_data: WorkerData, toy_schema: ModelSchema, retrieval: TwoTower) -> None:
    folds = [Fold(retrieval, None, 20_004, 20_007), Fold(retrieval, None, 20_008, 20_011)]

    batch = all_of(make_task(toy_data, toy_schema, retrieval, folds, rows=100))

    assert np.bincount(batch.fold.numpy()).tolist() == [50, 50]


def test_folds_without_rows_are_refused(toy_data: WorkerData, toy_schema: ModelSchema, retrieval: TwoTower) -> None:
    with pytest.raises(DataError, match="no training rows on the days 20 to 21 after the first; raise forward_share"):
        make_task(toy_data, toy_schema, retrieval, [Fold(retrieval, None, 20_020, 20_021)])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scores": "forward"}, "scores=forward with objective.negatives=popularity: forward rows are trained beside"),
        ({"objective": {"negatives": "list"}}, "scores=in_sample with objective.negatives=list"),
        (
            {"scores": "forward", "objective": {"negatives": "list"}, "ranker_rows": "label"},
            "scores=forward with ranker_rows=label: labels need no retriever; set scores=in_sample",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(RankerTrainConfig, values, source="ranker")
