"""Fourteen models in a deployment each answer as the pipeline called in plain Python.

They have a cluster of their own: beside the other placements there is no room for fourteen more processes.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from ray_apps.ports import free_port
from serving.config import ServingConfig
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.embedded import EmbeddedRedis
from tests.e2e.programs import FIRST_PORT, running
from tests.fixtures.filled_stores import fill_stores
from tests.fixtures.served_bundle import NOW, VERSION, copy_recorded_bundle
from tests.parity.answers import assert_same, called_directly, over_http
from tests.parity.golden import golden_answers
from tests.parity.visitors import all_visitors

CONFIG = "benchmarks/peers/per_model/per_model.yaml"


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.redis
def test_fourteen_models_one_by_one_answer_as_plain_python(tmp_path: Path) -> None:
    bundle, port = copy_recorded_bundle(tmp_path), free_port(FIRST_PORT)
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path / "redis")) as redis:
        stores = {"shop": bundle.manifest.shop, "address": redis.address, "feast_dir": str(tmp_path / "feast")}
        settings = {
            "registry": str(bundle.path.parent),
            "bundle": VERSION,
            "simulated_now": NOW,
            "stores": stores | {"read_timeout_ms": 60_000},
            "service": {"budget_ms": 60_000},
        }
        config = ServingConfig.model_validate(settings)
        fill_stores(StoreConfig.model_validate(stores), redis.address)
        plain = asyncio.run(called_directly(all_visitors(), bundle, config, redis.address, batch_size=1))
        assert_same(plain, golden_answers())
        arguments = ["--config", CONFIG, "--port", str(port), "--var", str(tmp_path / "var")]
        with running("benchmarks.peers.ray_serve", *arguments, "--settings", json.dumps(settings)) as program:
            program.read_until("READY")
            for num_threads in (1, 16):
                assert_same(over_http(all_visitors(), f"http://127.0.0.1:{port}", num_threads), plain)
            assert program.interrupt() == 0, program.output
