from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from contracts.errors import DataError
from training.models.inputs import ItemTensors
from training.models.schema import ModelSchema
from training.models.two_tower import TwoTower, TwoTowerConfig
from training.trainers.config import TrainerConfig
from training.trainers.data import WorkerData
from training.trainers.loop import Metrics, Optimizers, fit, use_sparse_gradients
from training.trainers.retrieval import NegativesConfig, RetrievalTask

CONFIG = TrainerConfig(epochs=2, batch_size=64, learning_rate=0.01, warmup_steps=4, threads=1)


SHAPE = TwoTowerConfig(
    output_dim=8, hidden_dims=(16,), history_length=4, history_dim=8, history_heads=2, user_dropout=0
)


def make_task(data: WorkerData, schema: ModelSchema, config: TrainerConfig, **negatives: Any) -> RetrievalTask:
    torch.manual_seed(config.seed)
    model = TwoTower(SHAPE, schema, ItemTensors(data.items, data.encoded_id))
    use_sparse_gradients(model, config.sparse_above)
    return RetrievalTask(model, data, NegativesConfig(**negatives), config.batch_size)


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
    expected = fit(whole, config, keep=lambda state, _: states.append(copy.deepcopy(state)))

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
    assert changed.tolist() == sorted(set(batch.queries.categorical[:, 0].tolist()))


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


def test_fewer_rows_than_a_batch_are_refused(toy_data: WorkerData, toy_schema: ModelSchema) -> None:
    config = CONFIG.model_copy(update={"batch_size": 5_000})

    with pytest.raises(DataError, match="a worker has 960 training rows, fewer than a batch of 5000; lower batch_size"):
        fit(make_task(toy_data, toy_schema, config), config)


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
