from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from contracts.errors import TrainingError
from training.models.inputs import ItemTensors
from training.models.schema import ModelSchema
from training.models.two_tower import TwoTower, TwoTowerConfig
from training.trainers.config import TrainerConfig
from training.trainers.data import Batch, WorkerData
from training.trainers.retrieval import NegativesConfig, RetrievalTask
from training.trainers.steps import loop
from training.trainers.steps.loop import Optimizers, fit, use_sparse_gradients

CONFIG = TrainerConfig(epochs=2, batch_size=64, learning_rate=0.01, warmup_steps=4, threads=1)


SHAPE = TwoTowerConfig(
    output_dim=8, hidden_dims=(16,), history_length=4, history_dim=8, history_heads=2, user_dropout=0
)


def make_task(data: WorkerData, schema: ModelSchema, config: TrainerConfig, **negatives: Any) -> RetrievalTask:
    torch.manual_seed(config.seed)
    model = TwoTower(SHAPE, schema, ItemTensors(data.items, data.encoded_id))
    use_sparse_gradients(model, config.sparse_above)
    return RetrievalTask(model, data, NegativesConfig(**negatives), config.batch_size)


class BrokenTask:
    """A task whose loss is NaN at one step."""

    def __init__(self, task: RetrievalTask, broken_step: int) -> None:
        self.model, self.units, self.build, self.evaluate = task.model, task.units, task.build, task.evaluate
        self._task, self._broken_step, self._step = task, broken_step, 0

    def loss(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        self._step += 1
        loss = self._task.loss(batch, generator)
        return loss * torch.nan if self._step == self._broken_step else loss


class CountingTask(BrokenTask):
    """A task that notes the rows of every step."""

    def __init__(self, task: RetrievalTask) -> None:
        super().__init__(task, broken_step=-1)
        self.rows: list[list[int]] = []

    def loss(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        self.rows.append((batch.now * 100 + batch.queries.columns.codes[:, 0]).tolist())
        return super().loss(batch, generator)


def weights(task: RetrievalTask) -> dict[str, torch.Tensor]:
    return copy.deepcopy(task.model.state_dict())


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(
    "negatives",
    [
        {},
        {"source": "in_batch"},
        {"source": "in_batch", "num_uniform": 16},
        {"source": "in_batch", "logq_correction": False, "mask_accidental_hits": False},
    ],
)
def test_training_learns_the_users_categories(
    toy_data: WorkerData, toy_schema: ModelSchema, negatives: dict[str, Any]
) -> None:
    config = CONFIG.model_copy(update={"epochs": 4})
    task = make_task(toy_data, toy_schema, config, **negatives)

    metrics = fit(task, config)

    # A user keeps to a third of the 30 items: knowing which puts the positive among ten.
    assert metrics["recall@10"] > 0.9
    assert metrics["recall@300"] == 1.0
    assert 0 < metrics["ndcg@10"] < metrics["recall@10"]
    assert metrics["rows_per_s"] > 0


def test_the_same_seed_gives_the_same_weights(toy_data: WorkerData, toy_schema: ModelSchema) -> None:
    results = []
    for seed in (1, 1, 2):
        config = CONFIG.model_copy(update={"seed": seed})
        task = make_task(toy_data, toy_schema, config, source="in_batch", num_uniform=4)
        fit(task, config)
        results.append(weights(task))

    assert_same(results[0], results[1])
    assert not torch.equal(results[0]["age_bias"], results[2]["age_bias"])


@pytest.mark.parametrize("sparse_above", [None, 20])
def test_a_resumed_run_ends_as_one_that_was_never_interrupted(
    toy_data: WorkerData, toy_schema: ModelSchema, sparse_above: int | None
) -> None:
    config = CONFIG.model_copy(update={"checkpoint_steps": 5, "sparse_above": sparse_above})
    states: list[dict[str, Any]] = []
    whole = make_task(toy_data, toy_schema, config)
    expected = fit(whole, config, keep=lambda state: states.append(copy.deepcopy(state)))

    for state in (states[0], states[-2], states[-1]):  # inside the first epoch, inside the last, after the last
        task = make_task(toy_data, toy_schema, config)
        metrics = fit(task, config, resume=state)

        assert_same(weights(task), weights(whole))
        assert metrics["recall@10"] == expected["recall@10"]
    assert [(state["epoch"], state["step"]) for state in states] == [(0, 5), (0, 10), (1, 0), (1, 5), (1, 10), (2, 0)]


def test_sparse_tables_only_change_where_rows_were_touched(toy_data: WorkerData, toy_schema: ModelSchema) -> None:
    config = CONFIG.model_copy(update={"sparse_above": 35})
    task = make_task(toy_data, toy_schema, config)
    users = task.model.query_tower.fields.tables[0]
    before = users.weight.detach().clone()
    optimizers = Optimizers(task.model, config, 10)
    batch = task.build(toy_data.train_rows[:2])

    task.loss(batch, torch.Generator()).backward()
    assert users.weight.grad is not None
    assert users.weight.grad.is_sparse
    optimizers.step()

    changed = (users.weight != before).any(dim=1).nonzero().flatten()
    assert changed.tolist() == sorted(set(batch.queries.columns.codes[:, 0].tolist()))


def test_the_learning_rate_rises_and_falls() -> None:
    config = TrainerConfig(learning_rate=1.0, warmup_steps=4, batch_size=2)
    model = nn.Linear(1, 1)
    optimizers = Optimizers(model, config, 20)
    rates = []
    for _ in range(20):
        model(torch.ones(1, 1)).sum().backward()
        rates.append(optimizers.state_dict()[0]["param_groups"][0]["lr"])
        optimizers.step()

    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[12] == pytest.approx(0.505)  # half way along the cosine
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[-1] < 0.03


def test_progress_is_told(toy_data: WorkerData, toy_schema: ModelSchema) -> None:
    told: list[tuple[int, int]] = []

    def progress(done: int, steps: int, loss: float, rows_per_s: float) -> None:
        assert loss > 0
        assert rows_per_s > 0
        told.append((done, steps))

    fit(make_task(toy_data, toy_schema, CONFIG), CONFIG, progress=progress)

    assert told == [(15, 30), (30, 30)]


def test_every_step_is_announced(toy_data: WorkerData, toy_schema: ModelSchema) -> None:
    told: list[str] = []
    task = make_task(toy_data, toy_schema, CONFIG)
    loss = task.loss

    def observed(batch: Batch, generator: torch.Generator) -> torch.Tensor:
        told.append("step")
        return loss(batch, generator)

    task.loss = observed  # type: ignore[method-assign]
    fit(task, CONFIG, before_step=lambda: told.append("announced"))
    assert told == ["announced", "step"] * 30


def test_scalars_and_biases_have_a_rate_of_their_own_and_no_decay() -> None:
    config = TrainerConfig(
        learning_rate=0.1, scalar_rate_factor=5, weight_decay=0.5, warmup_steps=0, schedule="constant", batch_size=2
    )
    model = nn.Linear(1, 1)
    nn.init.ones_(model.weight)
    nn.init.ones_(model.bias)
    optimizers = Optimizers(model, config, 10)

    model(torch.ones(1, 1)).sum().backward()
    optimizers.step()

    # Adam's first step is one learning rate whatever the gradient; the weight also decays by 0.1 * 0.5.
    assert model.weight.item() == pytest.approx(1 - 0.1 * 0.5 - 0.1)
    assert model.bias.item() == pytest.approx(1 - 5 * 0.1)


def test_a_bias_reaches_its_place_in_a_short_run(toy_data: WorkerData, toy_schema: ModelSchema) -> None:
    moved = {}
    for factor in (1.0, 10.0):
        config = CONFIG.model_copy(update={"scalar_rate_factor": factor, "learning_rate": 0.001})
        task = make_task(toy_data, toy_schema, config)
        fit(task, config)
        moved[factor] = task.model.age_bias.detach().abs().max()
    assert moved[10.0] > 4 * moved[1.0] > 0


@pytest.mark.parametrize("source", ["catalogue", "in_batch"])
def test_a_loss_that_is_not_finite_ends_training_by_its_step(
    toy_data: WorkerData, toy_schema: ModelSchema, source: str
) -> None:
    kept: list[Any] = []
    task = BrokenTask(make_task(toy_data, toy_schema, CONFIG, source=source), broken_step=18)

    with pytest.raises(TrainingError, match="the loss of step 18 is nan, expected a finite number; lower learning_"):
        fit(task, CONFIG, keep=lambda state: kept.append(state["epoch"]))
    assert kept == [1]


def test_weights_that_are_not_finite_end_training_before_they_are_kept(
    toy_data: WorkerData, toy_schema: ModelSchema
) -> None:
    kept: list[Any] = []
    config = CONFIG.model_copy(update={"checkpoint_steps": 5})
    task = make_task(toy_data, toy_schema, config)
    with torch.no_grad():
        task.model.query_tower.fields.tables[1].weight[2, 0] = torch.inf  # no row of the data looks it up

    with pytest.raises(TrainingError, match=r"after step 5: the weight query_tower\.fields\.tables\.1\.weight is NaN"):
        fit(task, config, keep=lambda state: kept.append(state))
    assert kept == []


def test_a_metric_that_is_not_finite_ends_training(
    toy_data: WorkerData, toy_schema: ModelSchema, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(toy_data, toy_schema, CONFIG)
    monkeypatch.setattr(task, "evaluate", lambda: {"recall@10": float("nan")})

    with pytest.raises(TrainingError, match=r"after step 15: the metric recall@10 is nan, expected a finite number"):
        fit(task, CONFIG)


def test_scores_that_are_not_finite_end_training(
    toy_data: WorkerData, toy_schema: ModelSchema, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(toy_data, toy_schema, CONFIG)
    query = task.model.query
    monkeypatch.setattr(
        task.model, "query", lambda *batch: query(*batch) if task.model.training else query(*batch) * torch.nan
    )

    with pytest.raises(TrainingError, match=r"after step 15: the scores of 80 validation rows are NaN or infinite"):
        fit(task, CONFIG)


@pytest.mark.parametrize("num_partitions", range(1, 6))
@pytest.mark.parametrize("workers", range(1, 5))
def test_workers_with_unequal_shards_lose_no_row(
    toy_data: WorkerData,
    toy_schema: ModelSchema,
    monkeypatch: pytest.MonkeyPatch,
    num_partitions: int,
    workers: int,
) -> None:
    if workers > num_partitions:
        return  # refused by name: test_more_workers_than_partitions_are_refused
    rows = [
        toy_data.train_rows[toy_data.events.subject[toy_data.train_rows] % num_partitions == p]
        for p in range(num_partitions)
    ]
    shards = [np.concatenate(rows[worker::workers]) for worker in range(workers)]
    counts = [len(shard) for shard in shards]
    monkeypatch.setattr(loop, "num_workers", lambda: workers)
    monkeypatch.setattr(loop, "smallest", lambda value, device: min(counts))
    monkeypatch.setattr(loop, "largest", lambda value, device: max(counts))
    monkeypatch.setattr(loop, "total", lambda values: torch.tensor(sum(counts)))
    config = CONFIG.model_copy(update={"epochs": 1})
    steps, seen, weights_of_rows = set(), [], 0.0
    for worker, shard in enumerate(shards):
        task = CountingTask(make_task(replace(toy_data, train_rows=shard), toy_schema, config))
        fit(task, config, worker=worker)
        steps.add(len(task.rows))
        seen += [row for part in task.rows for row in part]
        weights_of_rows += counts[worker] / sum(counts)

    assert len(steps) == 1  # all workers exchange gradients equally often
    assert len(seen) == len(toy_data.train_rows)
    assert weights_of_rows == pytest.approx(1)
