"""The serving benchmark, end to end on the debug shop: it runs, and its JSON has every name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.serving import NAMES
from tests.e2e.programs import ROOT, user_environment

MEASURED = ("fused", "asgi_2")


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.redis
@pytest.mark.timeout(900)
def test_the_benchmark_measures_ours_and_a_peer(tmp_path: Path) -> None:
    target = tmp_path / "serving.json"
    command = [sys.executable, "-m", "benchmarks.serving", "--quick", "--json", str(target)]
    command += ["--systems", *MEASURED, "--parts", "direct", "systems", "items"]

    subprocess.run(command, cwd=ROOT, env=user_environment() | {"PYTHONPATH": str(ROOT)}, check=True)

    written = json.loads(target.read_text())
    assert set(written) == {"machine", "command", "figures"}
    figures = written["figures"]
    for name in NAMES:
        for key in ("rps", "p50_ms_1_client", "p99_ms_at_500_rps", "p99_ms_at_100_rps"):
            figure = figures[f"{name}_{key}"]
            assert (figure["value"] is None) == ("reason" in figure)
        assert (figures[f"{name}_rps"]["value"] is not None) == (name in MEASURED)
    direct = ("limit_rps", "pipeline_ms_1_request", "pipeline_ms_1_request_with_stores", "item_features_300_ms")
    compared = [f"feast_items_vs_memory_{name}" for name in ("lookup", "latency", "rps")]
    for name in (*direct, *compared, "overhead_core_ms", "fused_rps_vs_limit", "fused_rps_vs_asgi_2"):
        assert figures[name]["value"] is not None, name
