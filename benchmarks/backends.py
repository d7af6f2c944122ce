"""Measures backends of query tower and ranker: eager torch, compiled torch and ONNX Runtime, one thread each.

The models of the benchmark's shop embed 1, 8 and 32 requests and score 300 candidates of each. Before it is timed,
every backend must give the served values of eager torch within 1e-5. ONNX Runtime comes from `make bench-peers`;
compiled torch needs a C++ compiler.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import Figure, parse, report, spread_ms
from benchmarks.scoring import random_queries
from benchmarks.shop import ROOT, open_shop
from contracts.bundle import Bundle
from contracts.features import NUM_ITEM_AGE_BUCKETS
from contracts.ids import FloatArray
from serving.stages.reranking import sigmoid
from training.models.inputs import CandidateGroup, ColumnTensors, QueryTensors
from training.models.loading import load_ranker, load_two_tower
from training.models.two_tower import TwoTower

SIZES: Final = (1, 8, 32)
CANDIDATES: Final = 300
SAME_SCORE: Final = 1e-5
ONNX: Final = ROOT / "var" / "peers" / "onnx"
_NUM_QUERY_INPUTS: Final = 5
"""Codes, numbers, and the history's rows, ages and sessions; the benchmark's shop has no lists and no vectors."""
Inputs = tuple[Tensor, ...]
Score = Callable[[Inputs], FloatArray]


class Logits(nn.Module):
    """A ranker as a function of tensors.

    Args:
        ranker: of a bundle, prepared.
    """

    def __init__(self, ranker: nn.Module) -> None:
        super().__init__()
        self._ranker: Any = ranker

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logits [B, C]; inputs are those of `_queries`, then of `CandidateGroup`."""
        queries, (rows, scores, ages) = inputs[:_NUM_QUERY_INPUTS], inputs[_NUM_QUERY_INPUTS:]
        logits: Tensor = self._ranker.logits(_queries(*queries), CandidateGroup(rows, scores, ages))
        return logits


class Embeddings(nn.Module):
    """A query tower as a function of tensors.

    Args:
        model: two-tower of a bundle, prepared.
    """

    def __init__(self, model: TwoTower) -> None:
        super().__init__()
        self._model = model

    def forward(self, *queries: Tensor) -> Tensor:
        """Query embeddings [B, E]; inputs are those of `_queries`."""
        return self._model.query(_queries(*queries))


def _queries(codes: Tensor, numbers: Tensor, *history: Tensor) -> QueryTensors:
    return QueryTensors(ColumnTensors(codes, numbers), *history)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    arguments = parse("backends", __doc__ or "", argv)
    sys.path.insert(0, str(ONNX))  # ONNX's protobuf is newer than Feast's
    with open_shop(quick=arguments.quick, num_requests=1) as shop:
        figures = backend_figures(shop.bundle, repeats=5 if arguments.quick else 60)
    report(figures, arguments.json)


def backend_figures(bundle: Bundle, repeats: int) -> dict[str, Figure]:
    """Milliseconds of every installed backend, by model and batch size.

    Raises:
        ValueError: a backend's result differs from eager torch's.
    """
    torch.set_num_threads(1)
    ranker = Logits(load_ranker(bundle)).eval()  # type: ignore[arg-type]
    inputs = {size: random_inputs(bundle, size) for size in SIZES}
    queries = {size: some[:_NUM_QUERY_INPUTS] for size, some in inputs.items()}
    tower = Embeddings(load_two_tower(bundle)).eval()
    return _figures("ranker", ranker, inputs, sigmoid, repeats) | _figures(
        "query_tower", tower, queries, lambda embeddings: embeddings, repeats
    )


def _figures(
    model: str, module: nn.Module, inputs: dict[int, Inputs], served: Callable[[FloatArray], FloatArray], repeats: int
) -> dict[str, Figure]:
    """Milliseconds of a model's backends; `served` maps its output to the values that must be equal."""
    backends: dict[str, Callable[[], Score]] = {
        "eager": lambda: _eager(module),
        "compiled": lambda: _compiled(module, inputs[8]),
        "onnx": lambda: _onnx(module, inputs[8]),
    }
    expected = {size: _eager(module)(inputs[size]) for size in SIZES}
    figures: dict[str, Figure] = {}
    for name, build in backends.items():
        try:
            score = build()
        except (ImportError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            figures |= {f"{model}_ms_{size}_{name}": Figure(None, "ms", reason=reason) for size in SIZES}
            continue
        for size in SIZES:
            off = float(np.abs(served(score(inputs[size])) - served(expected[size])).max())
            if off > SAME_SCORE:
                raise ValueError(f"{model}: {name} differs by {off:g} from eager torch for {size} requests")
            figures[f"{model}_ms_{size}_{name}"] = _timed(score, inputs[size], repeats)
    return figures


def random_inputs(bundle: Bundle, size: int) -> Inputs:
    """Inputs of `Logits` for some requests with full histories."""
    rng = np.random.default_rng(0)
    queries = random_queries(bundle, size, rng)
    count = min(CANDIDATES, bundle.num_items)
    rows = np.stack([rng.choice(bundle.num_items, count, replace=False) for _ in range(size)])
    scores = rng.normal(size=rows.shape).astype(np.float32)
    ages = rng.integers(0, NUM_ITEM_AGE_BUCKETS, rows.shape)
    candidates = (torch.as_tensor(part) for part in (rows, scores, ages))
    return (
        queries.columns.codes,
        queries.columns.numbers,
        queries.history_rows,
        queries.history_age_s,
        queries.same_session,
        *candidates,
    )


def _eager(module: nn.Module) -> Score:
    def score(inputs: Inputs) -> FloatArray:
        with torch.inference_mode():
            logits: FloatArray = module(*inputs).numpy()
        return logits

    return score


def _compiled(module: nn.Module, example: Inputs) -> Score:
    compiled = torch.compile(module, dynamic=True)

    def score(inputs: Inputs) -> FloatArray:
        with torch.no_grad():
            logits: FloatArray = compiled(*inputs).numpy()
        return logits

    score(example)
    return score


def _onnx(module: nn.Module, example: Inputs) -> Score:
    import onnxruntime

    axes = [{0: "batch"}] * _NUM_QUERY_INPUTS + [{0: "batch", 1: "candidates"}] * (len(example) - _NUM_QUERY_INPUTS)
    names = [f"input_{number}" for number in range(len(example))]
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            module, example, path, dynamo=True, dynamic_shapes=(tuple(axes),), input_names=names, verbose=False
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    wanted = {one.name for one in session.get_inputs()}

    def score(inputs: Inputs) -> FloatArray:
        feed = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True) if name in wanted}
        logits: FloatArray = session.run(None, feed)[0]
        return logits

    return score


def _timed(score: Score, inputs: Inputs, repeats: int) -> Figure:
    times = []
    for _ in range(repeats + 5):
        started = time.perf_counter()
        score(inputs)
        times.append(1000 * (time.perf_counter() - started))
    return spread_ms(times[5:])


if __name__ == "__main__":
    main(sys.argv[1:])
