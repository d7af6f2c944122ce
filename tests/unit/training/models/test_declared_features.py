"""DLRM of a shop's own columns: lists, vectors and columns of pairs, with a catalogue and without one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from contracts.catalogue import ItemFeatures
from contracts.encoded import PAD_CODE, EncodedColumns
from contracts.errors import ConfigError
from contracts.feature import Feature, Side
from contracts.ids import IntArray
from contracts.presets import FeaturesConfig
from contracts.transforms import FittedTransforms
from tests.unit.training.models.test_dlrm import above_diagonal, fields_of
from training.features.fit import Observed, fit_features
from training.models.dlrm import DLRM, DLRMConfig
from training.models.inputs import ColumnTensors, ItemTensors, PairTensors, QueryTensors
from training.models.schema import ModelSchema, SideSizes

NUM_ITEMS, NUM_QUERIES = 9, 4
OWNERS = torch.tensor([0, 0, 0, 2, 3, 3])
ROWS = torch.tensor([1, 8, 0, 4, 4, 1])
ALONE = {"history_length": 0, "item_age": False, "retrieval_score": False}


def columns(sizes: SideSizes, rows: int, seed: int = 0) -> EncodedColumns:
    """Random columns of some sizes; lists end early, and the first is empty."""
    rng = np.random.default_rng(seed)
    ends = np.arange(3) < rng.integers(1, 4, (rows, 1))
    ends[0] = False
    codes = [rng.integers(0, count, rows) for count in sizes.codes.values()]
    return EncodedColumns(
        "d",
        np.stack([np.zeros(rows), *codes], axis=1)[:, 1:].astype(np.int32),
        rng.normal(size=(rows, len(sizes.numbers))).astype(np.float32),
        tuple(_lists(rng, ends, count) for count in sizes.lists.values()),
        tuple(rng.normal(size=(rows, length)).astype(np.float32) for length in sizes.vectors.values()),
    )


def _lists(rng: np.random.Generator, ends: np.ndarray, count: int) -> IntArray:
    return np.where(ends, rng.integers(0, count, ends.shape), PAD_CODE).astype(np.int32)


FULL = SideSizes(codes={"a": 4, "b": 3}, numbers=("x", "y"), lists={"tags": 5, "words": 6}, vectors={"v": 3, "w": 2})
BARE = SideSizes(codes={"a": 4})
VECTORS = SideSizes(lists={"tags": 5}, vectors={"v": 3})
NOTHING = SideSizes()


@dataclass(frozen=True)
class Case:
    model: DLRM
    queries: QueryTensors
    pairs: PairTensors


def queries_of(sizes: SideSizes, count: int, length: int = 0) -> QueryTensors:
    history = torch.randint(0, NUM_ITEMS, (count, length))
    ages = torch.rand(count, length)
    return QueryTensors(ColumnTensors.of(columns(sizes, count)), history, ages, ages < 0.5)


def build(query: SideSizes, item: SideSizes, pair: SideSizes, **config: object) -> Case:
    torch.manual_seed(0)
    items = ItemFeatures(columns(item, NUM_ITEMS, 1), np.zeros(NUM_ITEMS, dtype=np.int64))
    tensors = ItemTensors(items, np.arange(NUM_ITEMS, dtype=np.int32))
    schema = ModelSchema(query=query, item=item, pair=pair, num_item_ids=NUM_ITEMS)
    options = {"dim": 4, "bottom_dims": [6], "top_dims": [5, 3], **ALONE, **config}
    model = DLRM(DLRMConfig.model_validate(options), schema, tensors).eval()
    of_pairs = ColumnTensors.of(columns(pair, len(ROWS), 2)) if any(pair.model_dump().values()) else None
    zeros = torch.zeros(len(ROWS))
    pairs = PairTensors(OWNERS, ROWS, zeros, zeros.long(), columns=of_pairs)
    return Case(model, queries_of(query, NUM_QUERIES, model.config.history_length), pairs)


def plain(case: Case) -> Tensor:
    """Nothing shared: all fields of each pair, dots of every two, one linear layer over all of them."""
    return torch.stack([plain_logit(case, number) for number in range(len(case.pairs))])


def plain_logit(case: Case, number: int) -> Tensor:
    model, pairs = case.model, case.pairs
    one = slice(int(pairs.owners[number]), int(pairs.owners[number]) + 1)
    sides = [fields_of(model.query_fields, case.queries[one].columns), [], []]
    if model.items is not None and model.item_id is not None:
        row = pairs.rows[number : number + 1]
        sides[1] = [model.item_id(model.items.ids(row, 0.0))[0], *fields_of(model.item_fields, model.items.of(row))]
    if pairs.columns is not None:
        sides[2] = fields_of(model.pair_fields, pairs.columns.map(lambda values: values[number : number + 1]))
    query, item, pair = (torch.stack(fields) if fields else torch.zeros(0, model.config.dim) for fields in sides)
    query_inputs = [above_diagonal(query @ query.T)]
    if model.query_fields.numbers is not None:
        query_inputs.insert(0, query[-1])
    hidden = model.query_first(torch.cat(query_inputs)) + model.item_first(above_diagonal(item @ item.T))
    hidden = hidden + model.joint_first((item @ query.T).flatten())
    if len(pair):
        inputs = [above_diagonal(pair @ pair.T), (pair @ query.T).flatten(), (pair @ item.T).flatten()]
        if model.pair_fields.numbers is not None:
            inputs.insert(0, pair[-1])
        hidden = hidden + model.pair_first(torch.cat(inputs))
    logit: Tensor = model.top(hidden)[0]
    return logit


@pytest.mark.parametrize(
    ("query", "item", "pair"),
    [
        (FULL, FULL, FULL),
        (FULL, FULL, NOTHING),
        (BARE, BARE, BARE),
        (VECTORS, VECTORS, VECTORS),
        (BARE, NOTHING, FULL),
        (NOTHING, FULL, SideSizes(numbers=("x",))),
    ],
)
def test_factored_scoring_equals_the_plain_form(query: SideSizes, item: SideSizes, pair: SideSizes) -> None:
    case = build(query, item, pair)

    logits = case.model.score(case.queries, case.pairs)

    torch.testing.assert_close(logits, plain(case), atol=1e-5, rtol=1e-5)
    case.model.prepare()
    torch.testing.assert_close(case.model.score(case.queries, case.pairs), logits, atol=1e-5, rtol=1e-5)


def test_every_input_has_a_gradient() -> None:
    case = build(FULL, FULL, FULL, history_length=3)
    case.model.score(case.queries, case.pairs).sum().backward()
    without = [name for name, weight in case.model.named_parameters() if weight.grad is None]
    assert without == []


def test_the_order_of_a_list_does_not_matter_and_pads_are_not_read() -> None:
    case = build(FULL, BARE, NOTHING)
    expected = case.model.score(case.queries, case.pairs)
    tags, words = case.queries.columns.lists
    flipped = tags.clone()
    for row in flipped:
        known = row >= 0
        row[known] = row[known].flip(0)
    longer = torch.cat([flipped, torch.full((NUM_QUERIES, 2), PAD_CODE)], dim=1)
    of_query = case.queries.columns
    moved = ColumnTensors(of_query.codes, of_query.numbers, (longer, words), of_query.vectors)
    queries = QueryTensors(moved, case.queries.history_rows, case.queries.history_age_s, case.queries.same_session)
    torch.testing.assert_close(case.model.score(queries, case.pairs), expected)


def test_columns_of_pairs_have_to_be_there() -> None:
    case = build(BARE, BARE, FULL)
    zeros = torch.zeros(len(ROWS))
    with pytest.raises(ValueError, match=r"this ranker reads \['a', 'b'\] … of each pair, got none"):
        case.model.score(case.queries, PairTensors(OWNERS, ROWS, zeros, zeros.long()))


def test_numbers_that_are_to_be_mixed_have_to_be_there() -> None:
    with pytest.raises(ConfigError, match=r"price_in_bottom=true mixes .*, the schema has \['x', 'y'\] and \[\]; set"):
        build(FULL, BARE, NOTHING, price_in_bottom=True)


CLICKS = FeaturesConfig.model_validate(
    {
        "preset": "none",
        "columns": [
            {"name": "label", "side": "pair", "kind": "label"},
            {"name": "I1..I13", "side": "pair", "kind": "numeric", "encode": {"log": "signed", "missing_flag": True}},
            {"name": "C1..C13", "side": "pair", "kind": "categorical", "encode": {"min_count": 2}},
            {"name": "C14..C26", "side": "pair", "kind": "categorical", "encode": {"buckets": 7}},
        ],
    }
).to_schema()


def click_logs(rows: int = 200) -> pa.Table:
    """Rows of a public data set of clicks by shape: a label, 13 numbers and 26 categories, some missing."""
    rng = np.random.default_rng(0)
    columns = {"label": pa.array(rng.integers(0, 2, rows).astype(np.float64))}
    for number in range(1, 14):
        values, missing = rng.exponential(20, rows), rng.random(rows) < 0.2
        columns[f"I{number}"] = pa.array(values, mask=missing)
    for number in range(1, 27):
        names = np.array([f"{value:08x}" for value in rng.geometric(0.2, rows)], dtype=object)
        columns[f"C{number}"] = pa.array(names, mask=rng.random(rows) < 0.1)
    return pa.table(columns)


def test_a_ranker_of_a_plain_table_needs_no_users_items_or_history() -> None:
    examples = click_logs()

    def observed(feature: Feature) -> Observed:
        return Observed(examples[feature.column_name].combine_chunks(), np.ones(len(examples)))

    fitted = fit_features(CLICKS.features, observed)
    transforms = FittedTransforms(CLICKS, fitted.vocabularies, fitted.numbers, "UTC")
    values = {
        name: examples[name].to_numpy() if name.startswith("I") else examples[name].to_pylist()
        for name in examples.column_names
    }
    encoded = transforms.side(Side.PAIR, values, len(examples))
    assert (encoded.codes.shape, encoded.numbers.shape) == ((200, 26), (200, 26))
    assert encoded.numbers[:, ::2].mean(axis=0) == pytest.approx(np.zeros(13), abs=1e-5)
    assert set(fitted.left_out) <= {f"C{number}" for number in range(1, 14)}
    sizes = SideSizes.of(transforms, Side.PAIR)
    torch.manual_seed(0)
    model = DLRM(DLRMConfig.model_validate({"dim": 4, "top_dims": [5, 3], **ALONE}), ModelSchema(pair=sizes))
    queries = queries_of(NOTHING, len(examples))
    zeros = torch.zeros(len(examples))
    numbers = torch.arange(len(examples))
    pairs = PairTensors(numbers, zeros.long(), zeros, zeros.long(), columns=ColumnTensors.of(encoded))

    logits = model.score(queries, pairs)

    torch.testing.assert_close(logits, plain(Case(model, queries, pairs)), atol=1e-5, rtol=1e-5)
    together = PairTensors(numbers * 0, zeros.long(), zeros, zeros.long(), columns=pairs.columns)
    torch.testing.assert_close(model.score(queries[:1], together), logits, atol=1e-5, rtol=1e-5)
    label = torch.from_numpy(examples["label"].to_numpy().copy()).float()
    assert learned(model, queries, pairs, label) < 0.5, "it learns two hundred labels by heart"


def learned(model: DLRM, queries: QueryTensors, pairs: PairTensors, label: Tensor, steps: int = 60) -> float:
    """The loss after some steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    loss = torch.zeros(())
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model.score(queries, pairs), label)
        loss.backward()
        optimizer.step()
    return loss.item()


def test_a_ranker_without_a_catalogue_reads_nothing_of_items() -> None:
    with pytest.raises(
        ConfigError, match="without a catalogue cannot read history_length, item_age, retrieval_score; set"
    ):
        DLRM(DLRMConfig(), ModelSchema(pair=BARE))
