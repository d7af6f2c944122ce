from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from contracts.catalogue import ItemFeatures
from contracts.encoded import EncodedColumns
from training.models.inputs import CandidateGroup, ColumnTensors, ItemTensors, PairTensors, QueryTensors
from training.models.mlp import MLPConfig, MLPRanker
from training.models.mlp.inputs import ItemTables, PastItems
from training.models.schema import ModelSchema, SideSizes

SCHEMA = ModelSchema(
    query=SideSizes(codes={"gender": 3}),
    item=SideSizes(
        codes={"category_l1": 3, "category_l2": 4, "item_gender": 3}, numbers=("price",), vectors={"text": 2}
    ),
    num_item_ids=6,
)
CODES = [[1, 1, 1], [1, 1, 2], [1, 2, 1], [2, 3, 1], [0, 0, 0]]
PRICES = [[0.0], [1.0], [-1.0], [0.5], [2.0]]
TEXT = [[3.0, 0.0], [0.0, 4.0], [1.0, 0.0], [0.0, 0.0], [0.0, -2.0]]


@pytest.fixture
def items() -> ItemTensors:
    columns = EncodedColumns(
        "", np.array(CODES, np.int32), np.array(PRICES, np.float32), vectors=(np.array(TEXT, np.float32),)
    )
    return ItemTensors(ItemFeatures(columns, np.zeros(5, np.int64)), np.arange(1, 6, dtype=np.int32))


def queries(rows: list[list[int]], in_session: list[list[bool]]) -> QueryTensors:
    size = len(rows)
    columns = ColumnTensors(torch.ones(size, 1, dtype=torch.int64), torch.zeros(size, 0))
    return QueryTensors(columns, torch.tensor(rows), torch.zeros(size, len(rows[0])), torch.tensor(in_session))


def past(items: ItemTensors) -> PastItems:
    """Of a user who saw item 0 in this session and item 3 before, and of a user without history."""
    tables = ItemTables(items, SCHEMA, None)
    return PastItems(tables, queries([[0, 3, -1], [-1, -1, -1]], [[True, False, False], [False] * 3]))


ALL = torch.arange(5).expand(2, 5)


def test_categories_in_common_by_hand(items: ItemTensors) -> None:
    same, in_session, share, *_ = past(items).categories(ALL, last=True, history=True)

    assert same.tolist() == [[1, 1, 1, 0, 0], [0] * 5]  # items without category have none in common
    assert in_session.tolist() == same.tolist()
    # of 5 items 3 have the first category; 1 of 2 interactions, and 5 prior ones
    first = math.log((1 + 5 * 3 / 5) / 7)
    torch.testing.assert_close(share[0, :3], torch.full((3,), first))
    torch.testing.assert_close(share[1, :3], torch.full((3,), math.log(3 / 5)))
    torch.testing.assert_close(share[0, 3:], torch.tensor([math.log((1 + 1) / 7), math.log(1 / 7)]))


def test_numbers_by_hand(items: ItemTensors) -> None:
    close, in_session, distance = past(items).numbers(ALL, last=True, history=True)

    torch.testing.assert_close(close[0], (-torch.tensor(PRICES)[:, 0].abs()).exp())
    assert in_session.tolist() == close.tolist()
    torch.testing.assert_close(distance[0], (torch.tensor(PRICES)[:, 0] - 0.25).abs())
    assert not close[1].any()
    assert not distance[1].any()


def test_content_by_hand(items: ItemTensors) -> None:
    last, history, in_session = past(items).content(ALL, last=True, history=True)

    torch.testing.assert_close(last[0], torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0]))
    torch.testing.assert_close(history[0], last[0] / 2)  # item 3 has no text
    assert in_session.tolist() == last.tolist()
    assert not torch.stack([last[1], history[1]]).any()


def test_content_within_a_category_is_what_the_plain_one_lacks(items: ItemTensors) -> None:
    tables = ItemTables(items, SCHEMA, "category_l1")

    spread = torch.tensor(TEXT).std(dim=0)
    # the first three items share a category whose mean text is (4, 4) / 3; item 3 has no text
    expected = (torch.tensor(TEXT[:3]) - torch.tensor([4 / 3, 4 / 3])) / spread
    torch.testing.assert_close(tables.content[:3, 2:], torch.nn.functional.normalize(expected, dim=1))
    assert not tables.content[3].any()
    assert ItemTables(items, SCHEMA, "brand").widths == [2]


def build(items: ItemTensors, **config: object) -> MLPRanker:
    torch.manual_seed(0)
    model = MLPRanker(MLPConfig(history_length=3, **config), SCHEMA, items)
    if model.counts is not None:
        model.counts.freeze(np.arange(6), np.ones(6, np.float32), np.array([1, 4]), np.array([2, 1]), np.array([3, 2]))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model.eval()


def group(rows: Tensor = ALL, popularity: bool = False) -> CandidateGroup:
    scores = torch.linspace(-1, 1, rows.numel()).view(rows.shape)
    return CandidateGroup(rows, scores, torch.full(rows.shape, 9), torch.ones(rows.shape) if popularity else None)


READ = queries([[0, 3, -1], [2, 0, 1]], [[True, False, False], [False] * 3])


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"history_length": 0},
        {"last_item": False},
        {"history": False},
        {"repeats": False},
        {"counts": False},
        {"num_following": 0},
        {"crosses": ()},
        {"within": None},
        {"item_age": False, "retrieval_score": False},
        {"popularity": True},
    ],
)
def test_each_input_can_be_switched_off(items: ItemTensors, config: dict[str, object]) -> None:
    model = MLPRanker(MLPConfig(**{"history_length": 3, **config}), SCHEMA, items).eval()

    logits = model.logits(READ, group(popularity="popularity" in config))

    assert logits.shape == (2, 5)
    assert logits.isfinite().all()


def test_ragged_and_prepared_scoring_equal_groups(items: ItemTensors) -> None:
    model = build(items)
    expected = model.logits(READ, group())
    pairs = PairTensors(
        torch.tensor([0, 0, 1, 1, 1]),
        torch.tensor([4, 1, 0, 3, 2]),
        group().scores[torch.tensor([0, 0, 1, 1, 1]), torch.tensor([4, 1, 0, 3, 2])],
        torch.full((5,), 9),
    )

    scored = model.score(READ, pairs)
    model.prepare()

    torch.testing.assert_close(scored, torch.cat([expected[0, [4, 1]], expected[1, [0, 3, 2]]]))
    torch.testing.assert_close(model.logits(READ, group()), expected)
    alone = model.score(READ[:1], PairTensors(pairs.owners[:2], pairs.rows[:2], pairs.scores[:2], pairs.age_bucket[:2]))
    torch.testing.assert_close(alone, scored[:2])


def test_candidates_do_not_depend_on_each_other(items: ItemTensors) -> None:
    model = build(items)

    alone = model.logits(
        READ, replace(group(), rows=ALL[:, 2:3], scores=group().scores[:, 2:3], age_bucket=torch.full((2, 1), 9))
    )

    torch.testing.assert_close(alone, model.logits(READ, group())[:, 2:3])


def test_groups_that_all_queries_share(items: ItemTensors) -> None:
    model = build(items)
    shared = replace(group(), rows=ALL[:1])

    torch.testing.assert_close(model.logits(READ, shared), model.logits(READ, group()))


def test_counts_of_an_earlier_time_replace_the_models_own(items: ItemTensors) -> None:
    model, other = build(items), build(items)
    assert other.counts is not None
    other.counts.freeze(np.arange(6)[::-1].copy(), np.ones(6, np.float32), np.array([1]), np.array([3]), np.array([9]))
    expected = other.logits(READ, group())

    given = model.logits(READ, replace(group(), counts=other.counts))

    torch.testing.assert_close(given, expected)
    assert not torch.allclose(model.logits(READ, group()), expected)


def test_a_cross_has_a_weight_for_each_pair_of_values(items: ItemTensors) -> None:
    model = build(items)
    before = model.logits(READ, group())
    with torch.no_grad():
        model.crosses[0][1, 2] += 1  # queries of gender 1, items of gender 2: item 1 only

    changed = (model.logits(READ, group()) - before).abs() > 1e-6

    assert changed.tolist() == [[False, True, False, False, False]] * 2


def test_without_a_catalogue_it_is_refused() -> None:
    with pytest.raises(ValueError, match="the ranker mlp compares items of a catalogue, got none; take"):
        MLPRanker(MLPConfig(), SCHEMA)


def test_the_popularity_that_it_reads_must_be_given(items: ItemTensors) -> None:
    model = MLPRanker(MLPConfig(history_length=3, popularity=True), SCHEMA, items)

    with pytest.raises(ValueError, match="this ranker reads the popularity of its candidates, got none"):
        model.logits(READ, group())
