"""A column of each kind by one line of YAML: from the tables to both models, the statistics, the report and the API."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from contracts.catalogue import ItemFeatures
from contracts.feature import Feature, FeatureKind, Side
from contracts.messages import QueryFeatures
from contracts.presets import FeaturesConfig
from contracts.schema import SideLayout
from serving.gateway.http.openapi import openapi_document
from serving.gateway.shop.types import shop_types
from tests.fixtures.plain_preprocess import run_without_ray
from tests.fixtures.raw_tables import write_shop, write_table
from training.features import preprocess as job
from training.features.config import PreprocessConfig
from training.features.processed import Processed, open_processed
from training.models.inputs import ItemTensors, PairTensors, QueryTensors
from training.models.loading import build_model
from training.models.schema import ModelSchema
from training.reference_stats import reference_stats

InputsT = TypeVar("InputsT", QueryFeatures, ItemFeatures)
_ITEM = "side: item, filter: true, answer: true"
_CONTEXT = "side: query, source: context"
LINES: dict[str, tuple[str, Any]] = {
    "category of items": (
        f"{{name: brand, kind: categorical, encode: {{max_size: 1}}, {_ITEM}}}",
        ["acme", "zeta", "acme", None],
    ),
    "hashed": (f"{{name: brand, kind: categorical, encode: {{buckets: 9}}, {_ITEM}}}", ["acme", "zeta", "b", None]),
    "list of items": (
        f"{{name: tags, kind: categories, encode: {{max_size: 1}}, {_ITEM}}}",
        [["new"], ["new", "red"], [], None],
    ),
    "number of items": (f"{{name: weight, kind: numeric, {_ITEM}}}", [1.5, 7, 30, None]),
    "bins": (f"{{name: weight, kind: numeric, encode: {{bins: [5, 20]}}, {_ITEM}}}", [1.5, 7, 30, None]),
    "number within a category": (
        f"{{name: weight, kind: numeric, encode: {{within: category_l1}}, {_ITEM}}}",
        [1.5, 7, 30, None],
    ),
    "season of items": ("{name: month, side: item, kind: cyclic, encode: {period: 12}}", [1, 4, 7, None]),
    "vector of items": ("{name: style, side: item, kind: vector, length: 2}", [[1, 2], [-3, 4], [0, 9], None]),
    "category of users": ("{name: vip, side: query, kind: categorical, encode: {max_size: 1}}", [True, False, None]),
    "list of users": (
        "{name: likes, side: query, kind: categories, encode: {max_size: 1}}",
        [["tea"], ["art", "tea"], None],
    ),
    "number of users": ("{name: income, side: query, kind: numeric, encode: {missing_flag: true}}", [9, 70.0, None]),
    "vector of users": ("{name: taste, side: query, kind: vector, length: 2}", [[1, 2], [-3, 0.5], None]),
    "category of the context": (
        f"{{name: country, kind: categorical, encode: {{max_size: 1}}, {_CONTEXT}}}",
        ["DE", "FR"],
    ),
    "list of the context": (
        f"{{name: words, kind: categories, encode: {{max_size: 1}}, {_CONTEXT}}}",
        [["lamp"], ["oak", "lamp"]],
    ),
    "number of the context": (f"{{name: spend, kind: numeric, {_CONTEXT}}}", [1.0, 20.0]),
    "season of the context": (f"{{name: age_of_moon, kind: cyclic, encode: {{period: 28}}, {_CONTEXT}}}", [1, 9]),
    "vector of the context": (f"{{name: place, kind: vector, length: 2, {_CONTEXT}}}", [[1, 2], [-3, 0.5]]),
}


def write_raw(raw_dir: Path, feature: Feature, values: list[Any]) -> None:
    """The small shop with one more column; events get the values by turns."""
    write_shop(raw_dir)
    table = {"context": "interactions"}.get(feature.origin, feature.origin)
    for path in sorted((raw_dir / table).rglob("*.parquet")):
        rows = pq.read_table(path, partitioning=None).to_pydict()
        count = len(rows["item_id" if feature.origin != "users" else "user_id"])
        write_table(path.parent, {**rows, feature.name: [values[number % len(values)] for number in range(count)]})


def processed_of(folder: Path, feature: Feature, values: list[Any], schema: FeaturesConfig) -> Processed:
    write_raw(folder / "raw", feature, values)
    job.preprocess(PreprocessConfig(), folder / "raw", folder / "run", shop="tiny", schema=schema.to_schema())
    return open_processed(folder / "run")


def without(processed: Processed, feature: Feature, inputs: InputsT) -> InputsT:
    """Queries or items of which nobody knows the feature's values."""
    everywhere = np.ones(len(inputs), dtype=bool)
    return replace(inputs, columns=processed.transforms.without(inputs.columns, [feature], everywhere))


def scores(processed: Processed, queries: QueryFeatures, items: ItemFeatures) -> list[torch.Tensor]:
    """Of all items for all queries, by a two-tower and a ranker with the same made-up weights at each call."""
    tensors, asked = ItemTensors(items, processed.item_encoded_id), QueryTensors.from_features(queries)
    rows = torch.arange(len(items)).repeat(len(queries))
    owners = torch.arange(len(queries)).repeat_interleave(len(items))
    found = []
    for name in ("two_tower", "dlrm"):
        torch.manual_seed(0)
        model: Any = build_model(name, {}, ModelSchema.of(processed.transforms, items), tensors).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        with torch.no_grad():
            if name == "two_tower":
                found.append((model.query(asked) @ model.candidate(torch.arange(len(items))).T).flatten())
            else:
                zeros = torch.zeros(len(rows))
                found.append(model.score(asked, PairTensors(owners, rows, zeros, zeros.long())))
    return found


@pytest.mark.parametrize(("line", "values"), LINES.values(), ids=list(LINES))
def test_one_line_of_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, values: list[Any]) -> None:
    monkeypatch.setattr(job, "_run", run_without_ray)
    config = FeaturesConfig.model_validate({"columns": [yaml.safe_load(line)]})
    feature = config.columns[0]
    processed = processed_of(tmp_path, feature, values, config)
    events, transforms = processed.events(), processed.transforms
    rows = np.flatnonzero(events.positive)
    queries = events.query_features(rows, transforms, length=32, history_days=30, masked=False)
    items = processed.item_features(*(np.ones((processed.num_items, 3), dtype=np.float32) for _ in range(2)))

    known = scores(processed, queries, items)
    hidden = scores(
        processed,
        without(processed, feature, queries) if feature.side is Side.QUERY else queries,
        without(processed, feature, items) if feature.side is Side.ITEM else items,
    )
    for ours, theirs in zip(known, hidden, strict=True):
        assert ours.isfinite().all()
        assert not torch.allclose(ours, theirs), "the model does not read the column"

    drift = reference_stats(processed.schema, queries, items, events.item_row[rows])["features"]
    assert set(SideLayout.of([feature])) <= set(drift)
    report = json.loads((processed.path / "report.json").read_text())
    assert (feature.name in report["out_of_vocabulary"]) == (feature.vocabulary == feature.name)

    types = shop_types(processed.schema)
    parts: Any = openapi_document(types)["components"]
    assert (feature.name in parts["schemas"]["Filters"]["properties"]) == feature.filter
    assert (feature.column_name in processed.item_values()) == (feature.filter or feature.answer)
    assert (feature.name in parts["schemas"]["Context"]["properties"]) == (feature.origin == "context")
    body: dict[str, Any] = {"context": {feature.name: values[0]}} if feature.origin == "context" else {}
    if feature.filter:
        several = values[0] if feature.kind is FeatureKind.CATEGORIES else [values[0]]
        body["filters"] = {feature.name: {"min": 2} if feature.kind is FeatureKind.NUMERIC else several}
    request = msgspec.convert(body, types.recommendation)
    assert all(getattr(getattr(request, part), feature.name) is not None for part in body)
