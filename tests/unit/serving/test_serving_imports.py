"""What a replica loads: heavy libraries only where they are used, and no Ray in the stages."""

from __future__ import annotations

import subprocess
import sys

import pytest

from contracts.bundle import Bundle
from serving.placing.stage_table import STAGES

HEAVY = ("feast", "torch", "faiss", "ray", "opentelemetry.sdk.trace", "opentelemetry.exporter")


def loaded_by(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("modules", "allowed"),
    [
        (
            "serving.pipeline, serving.placing.placement, serving.gateway.build, serving.config",
            set(),
        ),
        ("serving.stages.query_features, serving.stages.seen_filter, serving.stages.reranking", set()),
        ("serving.stages.user_lookup, serving.stages.retrieval, serving.stages.ranking", set()),
        ("benchmarks.peers.per_model.models, serving.queue_time_policy, serving.running.load", set()),
        ("serving.interactions.config, serving.interactions.redis_stream, serving.interactions.meter", set()),
        ("serving.deployments.consumer, ray_apps.recommender", {"ray", "opentelemetry.sdk.trace"}),
        ("serving.interactions.build", set()),
        ("serving.stages.query_tower, serving.stages.torch_scorer", {"torch"}),
    ],
)
def test_modules_load_no_more_than_they_need(modules: str, allowed: set[str]) -> None:
    assert loaded_by(f"import {modules}") <= allowed


OPENED = """
import asyncio, sys
import serving.deployments.stage
from contracts.bundle import open_bundle
from serving.placing.config import StageConfig
from serving.placing.stage_table import STAGES, open_stage, warm_up
from serving.running.load import ComputeThread

async def open_one(name, path):
    bundle, config, stores = open_bundle(path, verify=False), StageConfig(), None
    if STAGES[name].reads_stores:
        from serving.stores.connection import StoreConnection
        stores = StoreConnection.open(config.stores, "redis://127.0.0.1:1")
    with ComputeThread() as thread:
        await warm_up({name: open_stage(name, bundle, config, thread, stores)}, bundle, config)

asyncio.run(open_one(*sys.argv[1:]))
print(*sys.modules)
"""


@pytest.mark.parametrize("name", STAGES)
def test_a_replica_of_a_stage_knows_nothing_of_http(name: str, bundle: Bundle) -> None:
    """Counted when it is ready: the stage is opened and warmed up."""
    command = [sys.executable, "-c", OPENED, name, str(bundle.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    packages = {"recommender_api", "contracts", "training", "serving", "ray_apps"}
    ours = [one for one in done.stdout.split() if one.partition(".")[0] in packages]
    http = ("serving.gateway", "serving.pipeline", "recommender_api.answers")
    assert [one for one in ours if one.startswith(http)] == []
    assert len([one for one in ours if not one.startswith("training.models")]) <= 70
