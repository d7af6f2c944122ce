from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from training.models.inputs import ItemTensors, QueryTensors
from training.models.layers import ContentScale, embedding_dim, mlp, unique_rows, without_some_users
from training.models.schema import ModelSchema
from training.models.two_tower import TwoTower, TwoTowerConfig
from training.trainers.data import WorkerData


@pytest.fixture
def queries(toy_data: WorkerData) -> QueryTensors:
    return toy_data.batch(toy_data.train_rows[::50], history_length=8, history_days=30, masked=False).queries


def build(schema: ModelSchema, items: ItemTensors, **config: object) -> TwoTower:
    torch.manual_seed(0)
    return TwoTower(TwoTowerConfig(**{"history_length": 8, **config}), schema, items).eval()


def test_embedding_sizes_follow_the_cardinality() -> None:
    # 2 * 300,000^(1/4) = 46.8; 2 * 2,466^(1/4) = 14.1; 2 * 3^(1/4) = 2.6
    assert [embedding_dim(rows) for rows in (300_000, 2_466, 3)] == [48, 16, 8]


def test_the_last_layer_of_an_mlp_has_no_activation() -> None:
    names = [type(layer).__name__ for layer in mlp([4, 3, 2], dropout=0.5)]

    assert names == ["Linear", "ReLU", "Dropout", "Linear"]


def test_content_is_divided_by_its_spread_and_missing_content_stays_zero() -> None:
    vectors = torch.tensor([[0.0, 5.0], [2.0, 5.0], [0.0, 0.0]])  # spreads of the first two: sqrt(2) and 0

    scaled = ContentScale(vectors)(vectors)

    torch.testing.assert_close(scaled, torch.tensor([[0.0, 0.0], [2**0.5, 0.0], [0.0, 0.0]]))


def test_unique_rows_point_back_to_every_place() -> None:
    rows = torch.tensor([[7, 3], [3, 9]])

    used, place = unique_rows(rows, num_items=100)

    assert used.tolist() == [3, 7, 9]
    assert used[place].tolist() == rows.tolist()


def test_a_batch_as_large_as_the_catalogue_takes_all_of_it() -> None:
    rows = torch.tensor([[1, 0], [1, 1]])

    used, place = unique_rows(rows, num_items=3)

    assert used.tolist() == [0, 1, 2]
    assert place.tolist() == rows.tolist()


def test_shapes(toy_schema: ModelSchema, toy_tensors: ItemTensors, queries: QueryTensors) -> None:
    model = build(toy_schema, toy_tensors, output_dim=5)

    assert model.query(queries).shape == (len(queries), 5)
    assert model.candidate(torch.tensor([0, 4, 29])).shape == (3, 5)
    assert model.age_bias.shape == (10,)


def test_normalised_products_are_cosines_over_the_temperature(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, queries: QueryTensors
) -> None:
    model = build(toy_schema, toy_tensors, normalise=True, temperature=0.05)

    torch.testing.assert_close(model.query(queries).norm(dim=1), torch.full((len(queries),), 20.0))
    torch.testing.assert_close(model.candidate(torch.arange(3)).norm(dim=1), torch.ones(3))


def test_without_history_the_history_is_not_read(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, queries: QueryTensors
) -> None:
    other = replace(queries, history_rows=queries.history_rows.flip(0))
    with_history, without = build(toy_schema, toy_tensors), build(toy_schema, toy_tensors, history_length=0)

    torch.testing.assert_close(without.query(queries), without.query(other))
    assert not torch.allclose(with_history.query(queries), with_history.query(other))


def test_pads_do_not_matter(toy_schema: ModelSchema, toy_tensors: ItemTensors, queries: QueryTensors) -> None:
    model = build(toy_schema, toy_tensors)
    short = queries.last(3)
    padded = QueryTensors(
        queries.columns,
        torch.cat([short.history_rows, torch.full((len(queries), 5), -1)], dim=1),
        torch.cat([short.history_age_s, torch.full((len(queries), 5), 77.0)], dim=1),
        torch.cat([short.same_session, torch.ones((len(queries), 5), dtype=torch.bool)], dim=1),
    )
    model.query_tower.history_length = 3
    expected = model.query(short)
    model.query_tower.history_length = 8

    torch.testing.assert_close(model.query(padded), expected)


def test_a_history_shorter_than_the_model_reads_is_refused(queries: QueryTensors) -> None:
    with pytest.raises(ValueError, match="histories hold 8 interactions, the model reads 9; slice them longer"):
        queries.last(9)


def test_hidden_ids_leave_the_content_only(toy_schema: ModelSchema, toy_tensors: ItemTensors) -> None:
    model = build(toy_schema, toy_tensors)
    rows = torch.tensor([4, 4, 5])
    hidden = model.candidate(rows, torch.tensor([False, True, True]))
    with torch.no_grad():
        model.candidate_tower.item_id.weight[5] += 1  # encoded id of ItemRow 4

    moved = model.candidate(rows, torch.tensor([False, True, True]))

    assert not torch.allclose(moved[0], hidden[0])
    torch.testing.assert_close(moved[1:], hidden[1:])


def test_the_history_has_item_embeddings_of_its_own(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, queries: QueryTensors
) -> None:
    model = build(toy_schema, toy_tensors)

    model.query(queries).sum().backward()

    assert all(parameter.grad is None for parameter in model.candidate_tower.parameters())
    assert model.query_tower.history is not None
    assert model.query_tower.history.encoder.item_id.weight.grad is not None


def test_dropped_ids_are_dropped_in_training_only(toy_schema: ModelSchema, toy_tensors: ItemTensors) -> None:
    ids = toy_tensors.ids(torch.arange(28), dropout=0.5)

    kept = ids[ids > 0]
    assert 0 < len(kept) < 28
    assert set(kept.tolist()) <= set(range(1, 29))
    model = build(toy_schema, toy_tensors, id_dropout=0.9)
    torch.testing.assert_close(model.candidate(torch.arange(28)), model.candidate(torch.arange(28)))


def test_user_ids_are_dropped_in_training_only(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, queries: QueryTensors
) -> None:
    codes, place = queries.columns.codes, toy_schema.query.user_column
    assert place == 0

    dropped = without_some_users(queries.columns, place, 0.5).codes

    hidden = dropped[:, 0] == 0
    assert 0 < hidden.sum() < len(codes)
    torch.testing.assert_close(dropped[~hidden], codes[~hidden])
    torch.testing.assert_close(dropped[:, 1:], codes[:, 1:])
    for nowhere, share in ((place, 0.0), (None, 0.5)):
        assert without_some_users(queries.columns, nowhere, share) is queries.columns
    model = build(toy_schema, toy_tensors, user_dropout=0.9)
    torch.testing.assert_close(model.query(queries), model.query(queries))


def test_prepared_scoring_equals_unprepared(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, queries: QueryTensors
) -> None:
    model = build(toy_schema, toy_tensors)
    expected = model.query(queries)

    model.prepare()

    torch.testing.assert_close(model.query(queries), expected)


def test_an_id_vector_is_added_to_the_content(toy_schema: ModelSchema, toy_tensors: ItemTensors) -> None:
    model, rows = build(toy_schema, toy_tensors, id_vector=True, output_dim=5), torch.tensor([4, 5])
    before = model.candidate(rows)
    with torch.no_grad():
        model.candidate_tower.item_id.weight[5] += torch.arange(5)  # encoded id of ItemRow 4

    moved = model.candidate(rows) - before

    torch.testing.assert_close(moved, torch.stack([torch.arange(5.0), torch.zeros(5)]))


def test_a_bias_is_the_last_component_and_neither_normalised_nor_divided(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, queries: QueryTensors
) -> None:
    model = build(toy_schema, toy_tensors, item_bias=True, output_dim=5, normalise=True, temperature=0.05)
    counts = torch.arange(30)

    model.start_from_counts(counts)

    # log((1 + count) / 15.5); the last two items have no id, so they share the mean of log 29 and log 30
    logs = torch.log((counts + 1) / 15.5)
    logs[28:] = logs[28:].mean()
    candidates = model.candidate(torch.arange(30))
    torch.testing.assert_close(candidates[:, 5], logs)
    torch.testing.assert_close(candidates[:, :5].norm(dim=1), torch.ones(30))
    assert (model.query(queries)[:, 5] == 1).all()
    hidden = model.candidate(torch.tensor([0, 1]), torch.tensor([True, False]))
    torch.testing.assert_close(hidden[:, 5], logs[[28, 1]])


def test_encoded_ids_of_another_catalogue_are_refused(toy_data: WorkerData) -> None:
    with pytest.raises(ValueError, match=r"encoded_id has shape \[3\], expected one id for 30 items"):
        ItemTensors(toy_data.items, np.zeros(3, dtype=np.int32))
