from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from contracts.ids import LongArray
from tests.unit.training.trainers.steps.test_loop import CONFIG, SHAPE, make_task
from training.models.inputs import ItemTensors
from training.models.schema import ModelSchema
from training.models.two_tower import TwoTower
from training.trainers.data import WorkerData
from training.trainers.retrieval import NegativesConfig, RetrievalTask
from training.trainers.steps.loop import Metrics, fit


def test_draws_beside_the_whole_catalogue_are_refused() -> None:
    with pytest.raises(ValueError, match="num_uniform=4 with source=catalogue"):
        NegativesConfig(source="catalogue", num_uniform=4)


def test_metrics_by_hand(toy_data: WorkerData, toy_schema: ModelSchema, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(toy_data, toy_schema, CONFIG)
    task.model.eval()
    rows = task.data.validation_rows
    scores = torch.zeros(len(rows), 30)
    positives = torch.from_numpy(toy_data.events.item_row[rows].astype("int64"))
    scores.scatter_(1, positives[:, None], 1.0)
    better = torch.arange(len(rows)) % 2 == 0  # every other query has three items before the positive
    for step in range(1, 4):
        scores[better, (positives[better] + step) % 28] = 2.0
    monkeypatch.setattr(task.model, "query", lambda queries: scores)
    monkeypatch.setattr(task.model, "candidate", lambda rows, hidden=None: torch.eye(30))

    with torch.no_grad():
        metrics: Metrics = task.evaluate()

    assert metrics["recall@10"] == 1.0
    assert metrics["ndcg@10"] == pytest.approx((1 + 1 / torch.log2(torch.tensor(5.0)).item()) / 2)


def test_weights_of_zero_get_the_expectation_of_a_random_order(toy_data: WorkerData, toy_schema: ModelSchema) -> None:
    task = make_task(toy_data, toy_schema, CONFIG)
    with torch.no_grad():
        for parameter in task.model.parameters():
            parameter.zero_()
        metrics = task.evaluate()

    assert metrics["recall@10"] == pytest.approx(10 / 30)  # 30 launched items tie
    assert metrics["recall@300"] == 1.0
    gains = (1 / torch.log2(torch.arange(2.0, 12.0))).sum().item()
    assert metrics["ndcg@10"] == pytest.approx(gains / 30)


@pytest.mark.parametrize("source", ["catalogue", "in_batch"])
def test_a_hidden_positive_trains_the_row_of_unknown_ids(
    toy_data: WorkerData, toy_schema: ModelSchema, source: str
) -> None:
    shape = SHAPE.model_copy(update={"id_dropout": 0.0})
    model = TwoTower(shape, toy_schema, ItemTensors(toy_data.items, toy_data.encoded_id))
    task = RetrievalTask(model, toy_data, NegativesConfig(source=source), CONFIG.batch_size)
    tower = task.model.candidate_tower
    hidden = toy_data.train_rows[toy_data.events.mask_item[toy_data.train_rows]]
    shown = toy_data.train_rows[~toy_data.events.mask_item[toy_data.train_rows]]

    def gradient(rows: LongArray) -> torch.Tensor:
        task.model.zero_grad()
        task.loss(task.build(rows), torch.Generator()).backward()
        assert tower.item_id.weight.grad is not None
        return tower.item_id.weight.grad[0].abs().sum()

    if source == "in_batch":  # over the catalogue, new items have the row of unknown ids in any case
        assert gradient(shown[:50]) == 0
    assert gradient(hidden[:5]) > 0
    task.loss(task.build(hidden[:5]), torch.Generator()).backward()
    assert tower.mlp[0].weight.grad.abs().sum() > 0


def test_the_catalogue_loss_with_a_hidden_positive_by_hand(toy_data: WorkerData, toy_schema: ModelSchema) -> None:
    task = make_task(toy_data, toy_schema, CONFIG)
    task.model.eval()
    batch = replace(task.build(toy_data.train_rows[:3]), hidden=torch.tensor([False, True, False]))

    loss = task.loss(batch, torch.Generator())

    logits = task.model.query(batch.queries) @ task.model.candidate(torch.arange(30)).T
    own = task.model.candidate(batch.positives[1:2], torch.tensor([True]))
    logits[1, batch.positives[1]] = (task.model.query(batch.queries)[1] * own[0]).sum()
    torch.testing.assert_close(loss, nn.functional.cross_entropy(logits[:, :28], batch.positives))  # 28 are launched


@pytest.mark.parametrize("source", ["catalogue", "in_batch"])
@pytest.mark.parametrize("item_age", [True, False])
def test_items_that_are_not_launched_are_no_negatives(
    toy_data: WorkerData, toy_schema: ModelSchema, item_age: bool, source: str
) -> None:
    shape = SHAPE.model_copy(update={"item_age": item_age})
    model = TwoTower(shape, toy_schema, ItemTensors(toy_data.items, toy_data.encoded_id)).eval()
    early, late = toy_data.train_rows[0], toy_data.train_rows[23]  # days 0 and 11; item 29 launches on day 10
    item_row = toy_data.events.item_row.copy()
    item_row[late] = 29
    data = replace(toy_data, events=replace(toy_data.events, item_row=item_row))
    task = RetrievalTask(model, data, NegativesConfig(source=source, logq_correction=False), 2)
    batch = task.build(np.array([early, late]))

    queries, candidates = task._factors(batch, torch.tensor([0, 29]), torch.zeros(2, dtype=torch.bool))

    assert (queries @ candidates.T)[0, 1] < -1e8
    assert (queries @ candidates.T)[1, 1] > -1e8
    gradient = torch.autograd.grad(
        task.loss(batch.units(slice(1)), torch.Generator()), model.query_tower.mlp[0].weight
    )[0]
    assert gradient.isfinite().all()
    if source == "in_batch":
        alone = -torch.log_softmax((queries @ candidates.T), dim=1)[0, 0]
        assert alone.item() == 0.0  # the other row's item does not count before its launch


def test_windows_train_each_row_once_with_the_loss_of_its_own_history(
    toy_data: WorkerData, toy_schema: ModelSchema
) -> None:
    shape = SHAPE.model_copy(update={"history": "transformer", "history_length": 28})  # windows of whole subjects
    model = TwoTower(shape, toy_schema, ItemTensors(toy_data.items, toy_data.encoded_id)).eval()
    shown = replace(toy_data, events=replace(toy_data.events, mask=np.zeros(len(toy_data.events), dtype=np.uint8)))
    task = RetrievalTask(model, shown, NegativesConfig(), CONFIG.batch_size)
    rows = toy_data.train_rows[:48]  # of two users

    windows = task.build(np.arange(2))

    assert len(task.units) == 40
    assert task.units.num_rows == len(toy_data.train_rows) == 960
    assert windows.positives.tolist() == toy_data.events.item_row[rows].tolist()
    alone = shown.batch(rows, history_length=28, history_days=shape.history_days, masked=True)
    torch.testing.assert_close(task.loss(windows, torch.Generator()), task.loss(alone, torch.Generator()))
    one = windows.units(slice(1, 2))
    assert one.positives.tolist() == toy_data.events.item_row[rows[24:]].tolist()
    torch.testing.assert_close(
        model.query(one.queries, one.windows), model.query(windows.queries, windows.windows)[24:], atol=1e-5, rtol=0
    )


def test_a_transformer_learns_what_the_shop_does(toy_data: WorkerData, toy_schema: ModelSchema) -> None:
    shape = SHAPE.model_copy(update={"history": "transformer", "id_vector": True, "item_bias": True})
    model = TwoTower(shape, toy_schema, ItemTensors(toy_data.items, toy_data.encoded_id))
    task = RetrievalTask(model, toy_data, NegativesConfig(), CONFIG.batch_size)
    before = fit(task, CONFIG.model_copy(update={"epochs": 1, "learning_rate": 1e-9}))

    after = fit(task, CONFIG)

    # every user keeps to one of three categories, ten items each
    assert before["recall@10"] < 0.6
    assert after["recall@10"] > 0.9
