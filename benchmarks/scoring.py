"""Time of the ranker: factored, as it is served, and with a row per pair."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import Figure, spread_ms
from benchmarks.direct import BATCH
from contracts.bundle import Bundle
from contracts.feature import Side
from contracts.schema import FeatureSchema
from training.models.dlrm import DLRM
from training.models.inputs import CandidateGroup, ColumnTensors, ItemTensors, QueryTensors
from training.models.loading import RANKER, build_model, load_ranker, load_weights
from training.models.schema import ModelSchema


def scoring_figures(bundle: Bundle, repeats: int) -> dict[str, Figure]:
    """Milliseconds to rank 300 candidates of 1 and of 32 requests: factored, and with a row per pair."""
    rng = np.random.default_rng(0)
    count = min(300, bundle.num_items)
    factored = load_ranker(bundle)
    entry = bundle.model_entry(RANKER)
    items = ItemTensors(bundle.items, bundle.array(f"{RANKER}/encoded_id"))
    schema = ModelSchema.model_validate(entry.schema)
    plain = cast(DLRM, build_model(entry.name, entry.config, schema, items).eval())
    load_weights(plain, bundle.path / RANKER)
    figures = {}
    for size in (1, BATCH):
        queries = random_queries(bundle, size, rng)
        rows = torch.as_tensor(np.stack([rng.choice(bundle.num_items, count, replace=False) for _ in range(size)]))
        group = CandidateGroup(rows, torch.zeros(rows.shape), torch.zeros_like(rows))
        flat = rows.view(-1, 1)
        pairs = CandidateGroup(flat, torch.zeros(flat.shape), torch.zeros_like(flat))
        owners = torch.arange(size).repeat_interleave(count)

        def score_factored(queries: QueryTensors = queries, group: CandidateGroup = group) -> Tensor:
            return cast(DLRM, factored).logits(queries, group)

        def score_plain(
            queries: QueryTensors = queries, pairs: CandidateGroup = pairs, owners: Tensor = owners
        ) -> Tensor:
            return plain.logits(queries.take(owners), pairs)

        for name, score in (("factored", score_factored), ("plain", score_plain)):
            figures[f"ranker_ms_{size}_{name}"] = _scored_ms(score, max(3, repeats // size))
    return figures


def _scored_ms(score: Callable[[], Tensor], repeats: int) -> Figure:
    times = []
    with torch.inference_mode():
        for _ in range(repeats + 2):
            started = time.perf_counter()
            score()
            times.append(1000 * (time.perf_counter() - started))
    return spread_ms(times[2:])


def random_queries(bundle: Bundle, size: int, rng: np.random.Generator) -> QueryTensors:
    """Queries with a full history, the most expensive ones."""
    length = bundle.manifest.history.length
    return QueryTensors(
        random_columns(bundle.schema, size, rng),
        torch.as_tensor(rng.integers(0, bundle.num_items, (size, length))),
        torch.zeros((size, length)),
        torch.zeros((size, length), dtype=torch.bool),
    )


def random_columns(schema: FeatureSchema, size: int, rng: np.random.Generator) -> ColumnTensors:
    """Columns of the query side: always the first category, full lists, random numbers."""
    layout = schema.layout(Side.QUERY)

    def numbers(width: int) -> Tensor:
        return torch.as_tensor(rng.normal(size=(size, width)).astype(np.float32))

    return ColumnTensors(
        torch.ones((size, len(layout.codes)), dtype=torch.int64),
        numbers(len(layout.numbers)),
        tuple(torch.ones((size, schema[name].encode.max_length), dtype=torch.int64) for name in layout.lists),
        tuple(numbers(schema[name].length or 0) for name in layout.vectors),
    )
