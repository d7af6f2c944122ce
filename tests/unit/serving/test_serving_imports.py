"""What a replica loads: heavy libraries only where they are used, and no Ray in the stages."""

from __future__ import annotations

import subprocess
import sys

import pytest

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


@pytest.mark.parametrize("opened", ["query_features", "retrieval", "seen_filter", "ranking", "reranking"])
def test_a_replica_of_a_stage_knows_nothing_of_http(opened: str) -> None:
    program = f"import sys, serving.deployments.stage, serving.stages.{opened}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    packages = {"recommender_api", "contracts", "training", "serving", "ray_apps"}
    ours = [name for name in done.stdout.split() if name.partition(".")[0] in packages]
    assert [name for name in ours if name.startswith(("serving.gateway", "recommender_api.answers"))] == []
    assert len(ours) <= 70
