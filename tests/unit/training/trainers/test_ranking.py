from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from contracts.errors import TrainingError
from training.models.dlrm import DLRM, DLRMConfig
from training.models.inputs import ItemTensors
from training.models.schema import ModelSchema
from training.models.two_tower import TwoTower
from training.trainers.config import TrainerConfig
from training.trainers.data import WorkerData
from training.trainers.ranking import LabelTask, RankerLossConfig, RankingTask
from training.trainers.retrieval_scores import RetrievalScores
from training.trainers.steps.loop import fit, use_sparse_gradients

CONFIG = TrainerConfig(epochs=4, batch_size=64, learning_rate=0.01, warmup_steps=4, threads=1, validation_rows=40)
REFERENCE = {"history_length": 0, "item_age": False, "retrieval_score": False, "price_in_bottom": True}


def make_task(
    kind: type[RankingTask],
    data: WorkerData,
    schema: ModelSchema,
    retrieval: TwoTower,
    model: dict[str, Any],
    **loss: Any,
) -> RankingTask:
    torch.manual_seed(0)
    shape = {"dim": 8, "top_dims": (16, 8), "history_length": 4, "history_heads": 1, **model}
    ranker = DLRM(DLRMConfig(**shape), schema, ItemTensors(data.items, data.encoded_id))
    use_sparse_gradients(ranker, 20)
    return kind(ranker, retrieval, data, RankerLossConfig(**loss))


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        ({}, {}),
        ({}, {"shared": True, "num_negatives": 20, "uniform_share": 0.3}),
        ({}, {"negatives": "retrieval", "num_negatives": 8}),
        ({}, {"loss": "bce"}),
        ({"popularity": True}, {}),
        (REFERENCE, {"loss": "bce", "negatives": "in_batch", "logq_correction": False}),
    ],
)
def test_training_learns_the_users_categories(
    toy_data: WorkerData, toy_schema: ModelSchema, retrieval: TwoTower, model: dict[str, Any], loss: dict[str, Any]
) -> None:
    task = make_task(RankingTask, toy_data, toy_schema, retrieval, model, **loss)

    metrics = fit(task, CONFIG)

    assert metrics["hr@10"] > 0.8
    assert metrics["auc_popularity_negatives"] > 0.7
    assert 0 < metrics["ndcg@10"] < metrics["hr@10"]


def test_labels_are_learned(toy_data: WorkerData, toy_schema: ModelSchema, retrieval: TwoTower) -> None:
    task = make_task(LabelTask, toy_data, toy_schema, retrieval, {"retrieval_score": False})

    fit(task, CONFIG)

    batch = task.build(toy_data.labelled_rows[:200])
    with torch.no_grad():
        probability = task._logits(batch, None, batch.positives[:, None])[:, 0].sigmoid()
    assert probability[batch.label == 1].mean() > probability[batch.label == 0].mean() + 0.3


def test_negatives_equal_to_the_positive_or_not_launched_do_not_count(
    toy_data: WorkerData, toy_schema: ModelSchema, retrieval: TwoTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(RankingTask, toy_data, toy_schema, retrieval, {}, num_negatives=3, logq_correction=False)
    rows = np.array([0, 1])  # day 0: ItemRow 29 launches on day 10
    batch = task.build(rows)
    other = (batch.positives + 1) % 28
    drawn = torch.stack([batch.positives, torch.full((2,), 29), other], dim=1)
    monkeypatch.setattr(task, "_draw", lambda *_: (drawn, torch.zeros(2, 4)))
    task.model.eval()

    loss = task.loss(batch, torch.Generator())

    pair = task._logits(batch, task._retrieval_queries(batch), batch.positives[:, None], other[:, None])
    expected = -pair.log_softmax(dim=1)[:, 0].mean()
    torch.testing.assert_close(loss, expected)


def test_negatives_by_retrieval_score_follow_its_softmax(
    toy_data: WorkerData, toy_schema: ModelSchema, retrieval: TwoTower
) -> None:
    task = make_task(RankingTask, toy_data, toy_schema, retrieval, {}, negatives="retrieval", num_negatives=20_000)
    batch = task.build(np.array([0, 30]))
    queries = task._retrieval_queries(batch)
    assert queries is not None

    negatives, log_q = task._draw(batch, queries, torch.Generator().manual_seed(0))

    scores = queries @ retrieval.candidate(torch.arange(30)).T
    probs = scores[:, :28].softmax(dim=1)  # the last two items are not launched
    for row in range(2):
        shares = torch.bincount(negatives[row], minlength=30) / negatives.shape[1]
        torch.testing.assert_close(shares[:28], probs[row], atol=0.02, rtol=0)
        assert shares[28:].tolist() == [0.0, 0.0]
        torch.testing.assert_close(log_q[row, 0].exp(), 30 * probs[row, batch.positives[row]])


def test_options_of_draws_need_draws() -> None:
    with pytest.raises(ValueError, match=r"negatives=in_batch with shared=True, uniform_share=0\.0: both need"):
        RankerLossConfig(negatives="in_batch", shared=True)


def test_retrieval_scores_of_groups_agree(toy_data: WorkerData, retrieval: TwoTower) -> None:
    with torch.no_grad():
        retrieval.age_bias.copy_(torch.arange(10.0))
    scores = RetrievalScores(retrieval, toy_data)
    batch = toy_data.batch(toy_data.validation_rows[:6], history_length=2, history_days=30, masked=False)
    with torch.no_grad():
        queries = scores.queries(batch)
        shared = scores.scores(batch, queries, torch.arange(30)[None])
        own = scores.scores(batch, queries, torch.arange(30).expand(6, -1))
        best, rows = scores.top(batch, queries, 30)

    torch.testing.assert_close(shared, own)
    expected = queries @ retrieval.candidate(torch.arange(30)).T
    torch.testing.assert_close(shared[:, :28], expected[:, :28] + 9)  # always there: the oldest bucket
    torch.testing.assert_close(shared[:, 28:], expected[:, 28:] + 2)  # launched two days ago
    torch.testing.assert_close(best, shared.gather(1, rows))
    assert (best.diff(dim=1) <= 0).all()


def test_items_that_are_not_launched_are_not_retrieved(toy_data: WorkerData, retrieval: TwoTower) -> None:
    scores = RetrievalScores(retrieval, toy_data)
    batch = toy_data.batch(np.array([0]), history_length=2, history_days=30, masked=False)

    with torch.no_grad():
        values, rows = scores.top(batch, scores.queries(batch), 30)

    assert set(rows[0, 28:].tolist()) == {28, 29}
    assert (values[0, 28:] < -1e8).all()


def test_a_hidden_positive_trains_the_row_of_unknown_ids(
    toy_data: WorkerData, toy_schema: ModelSchema, retrieval: TwoTower
) -> None:
    for kind in (RankingTask, LabelTask):
        task = make_task(kind, toy_data, toy_schema, retrieval, {"id_dropout": 0.0, "user_dropout": 0.0})
        use_sparse_gradients(task.model, None)
        rows = toy_data.train_rows[toy_data.events.mask_item[toy_data.train_rows]][:1]
        batch = task.build(rows)
        known, shown = (
            task.loss(replace(batch, hidden=torch.tensor([hidden])), torch.Generator().manual_seed(0))
            for hidden in (True, False)
        )
        assert known != shown

        task.loss(batch, torch.Generator().manual_seed(0)).backward()

        gradient = task.model.item_id.weight.grad
        assert batch.hidden.all()
        assert gradient[0].abs().sum() > 0
        if kind is LabelTask:  # no negatives: nothing but the history may touch the item's own row
            assert gradient[toy_data.encoded_id[batch.positives[0]]].abs().sum() == 0 or (
                batch.positives[0] in batch.queries.history_rows
            )


def test_a_hidden_candidate_scores_as_an_unknown_item(
    toy_data: WorkerData, toy_schema: ModelSchema, retrieval: TwoTower
) -> None:
    task = make_task(RankingTask, toy_data, toy_schema, retrieval, {"retrieval_score": False})
    task.model.eval()
    batch = task.build(toy_data.train_rows[[400, 40, 80]])
    hidden = torch.tensor([[True], [False], [True]])

    mixed = task._logits(batch, None, batch.positives[:, None], batch.positives[:, None] * 0, hidden=hidden)
    with torch.no_grad():
        task.model.items.encoded_id = torch.zeros_like(task.model.items.encoded_id)
    nobody = task._logits(batch, None, batch.positives[:, None])

    lonely = (batch.queries.history_rows < 0).all(dim=1)  # the history keeps its ids
    assert not lonely.any() or torch.allclose(mixed[lonely, 0], nobody[lonely, 0])
    assert mixed.shape == (3, 2)


def test_retrieval_scores_of_hidden_items_are_those_of_unknown_ids(toy_data: WorkerData, retrieval: TwoTower) -> None:
    scores = RetrievalScores(retrieval, toy_data)
    batch = toy_data.batch(toy_data.train_rows[:2], history_length=2, history_days=30, masked=False)
    rows, hidden = torch.tensor([[3], [3]]), torch.tensor([[True], [False]])
    with torch.no_grad():
        queries = scores.queries(batch)
        found = scores.scores(batch, queries, rows, hidden)
        plain = scores.scores(batch, queries, rows)
        unknown = retrieval.candidate(torch.tensor([3]), torch.tensor([True]))

    torch.testing.assert_close(found[0], (queries[0] * unknown[0]).sum()[None])
    torch.testing.assert_close(found[1], plain[1])


def test_a_ranker_that_tells_nothing_apart_gets_the_expectation_of_a_random_order(
    toy_data: WorkerData, toy_schema: ModelSchema, retrieval: TwoTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(RankingTask, toy_data, toy_schema, retrieval, {})
    monkeypatch.setattr(
        task._ranker,
        "logits",
        lambda queries, *groups: torch.zeros(len(groups[0].scores), sum(g.scores.shape[1] for g in groups)),
    )

    with torch.no_grad():
        metrics = task.evaluate()

    assert metrics["hr@10"] == pytest.approx(10 / 30)  # 30 launched items tie
    assert metrics["auc_popularity_negatives"] == 0.5


def test_a_ranker_of_nan_ends_training(
    toy_data: WorkerData, toy_schema: ModelSchema, retrieval: TwoTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(RankingTask, toy_data, toy_schema, retrieval, {})
    logits = task._ranker.logits
    monkeypatch.setattr(task._ranker, "logits", lambda queries, *groups: logits(queries, *groups) * float("nan"))

    with torch.no_grad(), pytest.raises(TrainingError, match="the scores of 80 validation rows are NaN or infinite"):
        task.evaluate()
