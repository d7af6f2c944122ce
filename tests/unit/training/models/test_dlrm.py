from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from contracts.errors import ConfigError
from training.models.dlrm import DLRM, DLRMConfig
from training.models.dlrm.fields import SideFields
from training.models.dlrm.interactions import QueryState, dots, occurrences
from training.models.inputs import CandidateGroup, ColumnTensors, ItemTensors, PairTensors, QueryTensors
from training.models.ranker import build_ranker
from training.models.schema import ModelSchema
from training.trainers.data import WorkerData

REFERENCE = {"history_length": 0, "item_age": False, "retrieval_score": False, "price_in_bottom": True}


@pytest.fixture
def queries(toy_data: WorkerData) -> QueryTensors:
    return toy_data.batch(toy_data.train_rows[::100], history_length=8, history_days=30, masked=False).queries


def build(schema: ModelSchema, items: ItemTensors, **config: object) -> DLRM:
    torch.manual_seed(0)
    return DLRM(DLRMConfig(**{"history_length": 8, "dim": 8, **config}), schema, items).eval()


def plain_dlrm(model: DLRM, queries: QueryTensors, rows: Tensor) -> Tensor:
    """The reference's form, nothing shared: all fields of each pair, all dots, one linear layer over all of them."""
    items, logits = model.items, []
    for query in range(len(queries)):
        of_query = queries[query : query + 1].columns
        for row in rows:
            of_item = items.of(row[None])
            fields = fields_of(model.query_fields, of_query)
            num_query = len(fields)
            fields += [model.item_id(items.encoded_id[row].long()), *fields_of(model.item_fields, of_item)]
            weight = torch.cat([model.bottom[0].weight, model.bottom_numbers.weight], dim=1)
            numbers = torch.cat([of_query.numbers[0], of_item.numbers[0]])
            bottom = model.bottom[1:](weight @ numbers + model.bottom[0].bias)
            dots = torch.stack(fields) @ torch.stack(fields).T
            crossed = dots[num_query:, :num_query].flatten()
            with_bottom = torch.cat([bottom, torch.stack(fields) @ bottom])
            layers = (model.query_first, model.item_first, model.joint_first, model.bottom_first)
            first = torch.cat([layer.weight for layer in layers], dim=1)
            own = (above_diagonal(dots[:num_query, :num_query]), above_diagonal(dots[num_query:, num_query:]))
            logits.append(model.top(first @ torch.cat([*own, crossed, with_bottom]) + model.query_first.bias))
    return torch.cat(logits).view(len(queries), len(rows))


def fields_of(side: SideFields, columns: ColumnTensors) -> list[Tensor]:
    """Field vectors of one row, in the plainest form: categories, lists, vectors, and the MLP of the numbers."""
    tables = iter(side.embeddings.tables)
    fields = [next(tables).weight[code] for code in columns.codes[0]]
    for codes in columns.lists:
        known, table = codes[0][codes[0] >= 0], next(tables)
        fields.append(table.weight[known].mean(dim=0) if len(known) else torch.zeros(table.embedding_dim))
    for number, vector in enumerate(columns.vectors):
        scaled = vector[0] * side.scales[number].scale if len(side.scales) else vector[0]
        fields.append(side.vectors[number](scaled))
    return fields if side.numbers is None else [*fields, side.numbers(columns.numbers[0])]


def above_diagonal(dots: Tensor) -> Tensor:
    return dots[tuple(torch.triu_indices(*dots.shape, offset=1))]


def group(rows: Tensor, num_queries: int) -> CandidateGroup:
    torch.manual_seed(3)
    shape = (num_queries, rows.shape[1])
    return CandidateGroup(rows, torch.randn(shape), torch.randint(0, 10, shape), torch.rand(shape))


def test_the_reference_shape_has_66_dots_in_parts(toy_schema: ModelSchema, toy_tensors: ItemTensors) -> None:
    model = build(toy_schema, toy_tensors, **REFERENCE)

    # 6 query fields (one more than the reference: two top categories), 6 item fields, 1 bottom vector: 13 * 12 / 2
    parts = [model.query_first, model.item_first, model.joint_first, model.bottom_first]
    assert sum(part.in_features for part in parts) == 13 * 12 // 2 + 8


def test_factored_scoring_equals_the_plain_form(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, queries: QueryTensors
) -> None:
    model, rows = build(toy_schema, toy_tensors, **REFERENCE), torch.tensor([0, 7, 29])

    logits = model.logits(queries, group(rows[None], len(queries)))

    torch.testing.assert_close(logits, plain_dlrm(model, queries, rows), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", [{}, REFERENCE, {"price_in_bottom": True}, {"popularity": True}])
def test_ragged_grouped_and_shared_candidates_agree(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, queries: QueryTensors, config: dict[str, object]
) -> None:
    model, size = build(toy_schema, toy_tensors, **config), len(queries)
    shared = group(torch.tensor([[3, 11, 29, 4]]), size)
    expected = model.logits(queries, shared)
    own = replace(shared, rows=shared.rows.expand(size, -1))
    keep = torch.rand(size, 4) < 0.6
    keep[1] = False  # a query without candidates
    owners, column = keep.nonzero(as_tuple=True)

    assert own.popularity is not None
    pairs = PairTensors(owners, own.rows[keep], own.scores[keep], own.age_bucket[keep], own.popularity[keep])
    ragged = model.score(queries, pairs)

    torch.testing.assert_close(model.logits(queries, own), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ragged, expected[owners, column], atol=1e-5, rtol=1e-5)


def test_groups_are_scored_side_by_side(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, queries: QueryTensors
) -> None:
    model, size = build(toy_schema, toy_tensors), len(queries)
    first, second = group(torch.arange(size)[:, None], size), group(torch.tensor([[5, 6]]), size)

    both = model.logits(queries, first, second)

    expected = torch.cat([model.logits(queries, first), model.logits(queries, second)], dim=1)
    torch.testing.assert_close(both, expected, atol=1e-5, rtol=1e-5)


def test_prepared_scoring_equals_unprepared(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, queries: QueryTensors
) -> None:
    model, candidates = build(toy_schema, toy_tensors), group(torch.tensor([[1, 2, 28]]), len(queries))
    expected = model.logits(queries, candidates)

    model.prepare()

    torch.testing.assert_close(model.logits(queries, candidates), expected, atol=1e-5, rtol=1e-5)


def test_no_candidates_give_no_logits(toy_schema: ModelSchema, toy_tensors: ItemTensors, queries: QueryTensors) -> None:
    none = torch.zeros(0, dtype=torch.int64)

    logits = build(toy_schema, toy_tensors).score(queries, PairTensors(none, none, torch.zeros(0), none))

    assert logits.shape == (0,)


def test_an_untrained_retrieval_score_is_added_with_weight_one(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, queries: QueryTensors
) -> None:
    model = build(toy_schema, toy_tensors)
    with torch.no_grad():
        model.joint_first.weight.zero_()
    candidates = group(torch.tensor([[1, 2]]), len(queries))
    raised = replace(candidates, scores=candidates.scores + 2)

    difference = model.logits(queries, raised) - model.logits(queries, candidates)

    torch.testing.assert_close(difference, torch.full_like(difference, 2.0))


def test_popularity_is_one_input_of_the_first_layer(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, queries: QueryTensors
) -> None:
    without, model = (build(toy_schema, toy_tensors, popularity=reads) for reads in (False, True))
    candidates = group(torch.tensor([[1, 2]]), len(queries))
    model.load_state_dict(without.state_dict() | {"joint_first.weight": model.joint_first.weight})
    with torch.no_grad():
        model.joint_first.weight[:, :-1] = without.joint_first.weight
        model.joint_first.weight[:, -1] = 0
    torch.testing.assert_close(model.logits(queries, candidates), without.logits(queries, candidates))

    with torch.no_grad():
        model.joint_first.weight[:, -1] = 1

    assert not torch.allclose(model.logits(queries, candidates), without.logits(queries, candidates))
    with pytest.raises(ValueError, match="reads the popularity of its candidates, got none"):
        model.logits(queries, replace(candidates, popularity=None))


def test_occurrences_by_hand() -> None:
    history = torch.tensor([[7, 5, 7, -1]])
    session = torch.tensor([[True, False, False, False]])
    queries = QueryTensors(ColumnTensors(torch.zeros(1, 6), torch.zeros(1, 5)), history, torch.zeros(1, 4), session)

    found = occurrences(queries, torch.tensor([[7, 5, 9]]))

    expected = torch.tensor([[[3.0, 2.0], [2.0, 1.0], [1.0, 1.0]]]).log()
    torch.testing.assert_close(found[..., 0], expected[..., 0])
    assert found[..., 1].tolist() == [[1.0, 0.0, 0.0]]


def test_an_unknown_ranker_is_refused(toy_schema: ModelSchema) -> None:
    with pytest.raises(ConfigError, match="unknown ranker 'dcn'; legal values: dlrm"):
        build_ranker("dcn", {}, toy_schema)


def test_the_config_chooses_the_ranker(toy_schema: ModelSchema, toy_tensors: ItemTensors) -> None:
    assert isinstance(build_ranker("dlrm", {"dim": 8}, toy_schema, toy_tensors), DLRM)


def test_the_history_is_compared_field_by_field(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, queries: QueryTensors
) -> None:
    model = build(toy_schema, toy_tensors)
    first = queries[1:2]
    items = model.item_state(toy_tensors, torch.arange(30))
    rows = first.history_rows[first.history_rows >= 0]

    past = model.past_fields(first, items, first.history_rows.clamp(min=0))

    in_session = float(first.same_session[0, 0])
    torch.testing.assert_close(past[0, :, 0], items.fields[:, rows[0]])
    torch.testing.assert_close(past[0, :, 1], items.fields[:, rows[0]] * in_session)
    torch.testing.assert_close(past[0, :, 2], items.fields[:, rows].mean(dim=1))
    elsewhere = replace(first, same_session=torch.zeros_like(first.same_session))
    assert model.past_fields(elsewhere, items, first.history_rows.clamp(min=0))[0, :, 1].abs().max() == 0


def test_dots_are_of_each_field_with_the_query_and_with_its_own_past() -> None:
    torch.manual_seed(5)
    fields, of_query, past = torch.randn(2, 3, 4, 8), torch.randn(2, 5, 8), torch.randn(2, 3, 3, 8)
    state = QueryState(of_query, torch.zeros(2, 1), None, past)

    found = dots(fields, state).view(2, 4, 3, 8)  # B, C, G, F + 3

    torch.testing.assert_close(found[1, 2, 0, 4], fields[1, 0, 2] @ of_query[1, 4])
    torch.testing.assert_close(found[1, 2, 0, 5], fields[1, 0, 2] @ past[1, 0, 0])
    torch.testing.assert_close(found[0, 3, 2, 7], fields[0, 2, 3] @ past[0, 2, 2])
    shared = dots(fields[:1], state)
    torch.testing.assert_close(shared, dots(fields[:1].expand(2, -1, -1, -1), state))


def test_blocks_of_candidates_give_what_all_at_once_give(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, queries: QueryTensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, size = build(toy_schema, toy_tensors), len(queries)
    groups = [group(torch.arange(5).repeat(size, 1), size), group(torch.tensor([[5, 6]]), size)]
    with torch.inference_mode():
        expected = model.logits(queries, *groups)
        monkeypatch.setattr("training.models.dlrm.model._BLOCK_CANDIDATES", 12)

        torch.testing.assert_close(model.logits(queries, *groups), expected, atol=1e-5, rtol=1e-5)
