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
        ("serving.pipeline, serving.stage_table, serving.gateway.build, serving.config, serving.placement", set()),
        ("serving.stages.query_features, serving.stages.seen_filter, serving.stages.reranking", set()),
        ("serving.stages.context, serving.stages.user_lookup, serving.stages.retrieval, serving.stages.ranking", set()),
        ("benchmarks.peers.per_model.models, serving.queue_time_policy, serving.load", set()),
        ("serving.interactions.config, serving.interactions.redis_stream, serving.interactions.meter", set()),
        ("serving.deployments.consumer, ray_apps.recommender", {"ray", "opentelemetry.sdk.trace"}),
        ("serving.interactions.build", set()),
        ("serving.stages.query_tower, serving.stages.torch_scorer", {"torch"}),
    ],
)
def test_modules_load_no_more_than_they_need(modules: str, allowed: set[str]) -> None:
    assert loaded_by(f"import {modules}") <= allowed
