from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.direct import expected_answers
from benchmarks.peers.triton.server import write_repository
from benchmarks.peers.triton.shop import opened_shop
from benchmarks.peers.triton.spec import ANSWER, ENSEMBLE, REQUEST, fourteen_models
from benchmarks.peers.triton.stages import OPENERS
from benchmarks.systems import TritonSystem, differences
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.embedded import EmbeddedRedis
from tests.fixtures.filled_stores import fill_stores
from tests.fixtures.served_bundle import NOW, VERSION, write_served_bundle

DTYPES = {"BYTES": object, "INT32": np.int32, "INT64": np.int64, "FP32": np.float32, "FP64": np.float64, "BOOL": bool}
ASKED: list[dict[str, Any]] = [
    {"user_id": "u1", "device_type": "mobile", "k": 5},
    {"user_id": "u2", "device_type": "desktop", "timestamp": NOW - 7 * 3600, "k": 5},
    {"user_id": "nobody", "k": 5},
    {"session_id": "s1", "k": 5},
    {"k": 5},
]


def test_every_tensor_is_there_before_it_is_read() -> None:
    models = fourteen_models(history_length=32, retrieval_k=300, embedding_dim=128)
    known = set(REQUEST)
    for name, model in models.items():
        assert set(model.inputs) <= known, name
        assert not set(model.outputs) & known, name
        known |= set(model.outputs)
    assert set(ANSWER) <= known
    assert len(models) == 14
    assert list(OPENERS) == list(models)


@pytest.mark.redis
def test_the_fourteen_models_answer_as_the_pipeline(tmp_path: Path) -> None:
    bundle = write_served_bundle(tmp_path)
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path / "redis")) as server:
        stores = {"shop": "tiny", "address": server.address, "feast_dir": str(tmp_path / "feast")}
        fill_stores(StoreConfig(**stores), server.address)  # type: ignore[arg-type]
        values = {
            "registry": str(bundle.path.parent),
            "bundle": VERSION,
            "simulated_now": NOW,
            "stores": stores | {"read_timeout_ms": 60_000},
            "service": {"budget_ms": 120_000},
        }
        tensors = run_ensemble(json.dumps(values), ASKED)
        answers = [
            list(zip([item.decode() for item in items], scores.tolist(), strict=True))
            for items, scores in zip(tensors["item_id"], tensors["score"], strict=True)
        ]

        assert differences(answers, expected_answers(values, ASKED)) == []
    for model in opened_shop(json.dumps(values)).models.values():
        for name, (dtype, dims) in model.outputs.items():
            found = tensors[name]
            assert found.dtype == DTYPES[dtype], name
            assert len(found) == len(ASKED), name
            assert all(wanted in (-1, size) for wanted, size in zip(dims, found.shape[1:], strict=True)), name


def run_ensemble(settings: str, asked: list[dict[str, Any]]) -> dict[str, Any]:
    """All tensors of one batch, as Triton would pass them from model to model."""
    empty: dict[str, Any] = {"BYTES": "", "INT32": 0, "INT64": 0}
    tensors: dict[str, Any] = {}
    for name, (dtype, _) in REQUEST.items():
        found = [one.get(name, empty[dtype]) for one in asked]
        column = [value.encode() if isinstance(value, str) else value for value in found]
        tensors[name] = np.array(column, dtype=DTYPES[dtype])[:, None]
    shop = opened_shop(settings)
    for name, model in shop.models.items():
        tensors |= OPENERS[name](shop)(*(tensors[tensor] for tensor in model.inputs))
    shop.close()
    return tensors


def test_the_repository_holds_the_models_and_the_ensemble(tmp_path: Path) -> None:
    models = fourteen_models(4, 300, 8)

    write_repository(tmp_path, models, batching=True, instances=2)

    assert {folder.name for folder in tmp_path.iterdir()} == {*models, ENSEMBLE}
    ranking = (tmp_path / "dlrm_ranking" / "config.pbtxt").read_text()
    assert "count: 2 kind: KIND_CPU" in ranking
    assert "max_queue_delay_microseconds: 2000" in ranking
    assert '{ name: "history_rows" data_type: TYPE_INT32 dims: [4] }' in ranking
    ensemble = (tmp_path / ENSEMBLE / "config.pbtxt").read_text()
    assert ensemble.count("model_name") == 14
    assert 'name: "item_id" data_type: TYPE_STRING dims: [-1]' in ensemble
    write_repository(tmp_path, models, batching=False, instances=1)
    assert "dynamic_batching" not in (tmp_path / "dlrm_ranking" / "config.pbtxt").read_text()


def test_an_answer_of_triton_is_read() -> None:
    outputs = [{"name": "score", "data": [0.5, 0.25]}, {"name": "item_id", "data": ["i2", "i1"]}]

    ranked = TritonSystem("triton", []).ranked(json.dumps({"outputs": outputs}).encode())

    assert ranked == [("i2", 0.5), ("i1", 0.25)]
