"""The recipe of the reference, option by option, trains and becomes a bundle that is judged like any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contracts.bundle import open_bundle
from contracts.registry import Registry
from tests.e2e.programs import ROOT, running

pytestmark = [pytest.mark.ray, pytest.mark.slow]
SMALLER = [
    "simulator.size=debug",
    "ranker.batch_size=1024",
    "ranker.validation_rows=500",
    "embed.text.pool_size=1",
    "evaluation.max_events=500",
]


def test_the_references_recipe_trains(tmp_path: Path) -> None:
    config = str(ROOT / "configs" / "jobs" / "reference.yaml")

    with running("ray_apps.jobs.pipeline", "--config", config, f"var_dir={tmp_path}", *SMALLER) as program:
        assert program.finish() == 0, program.output

    version = Registry.open(tmp_path / "bundles").production()
    assert version is not None
    bundle = open_bundle(tmp_path / "bundles" / version)
    two_tower, ranker = (bundle.json(f"{model}/config.json")["config"] for model in ("two_tower", "ranker"))
    assert (two_tower["history_length"], two_tower["output_dim"], two_tower["hidden_dims"]) == (0, 64, [128])
    assert (ranker["history_length"], ranker["dim"], ranker["top_dims"]) == (0, 64, [128, 64, 32])
    assert ranker["price_in_bottom"]
    assert not ranker["retrieval_score"]
    report = json.loads((tmp_path / "reports" / version / "report.json").read_text())
    assert report["pipeline"]["hr@10"]["n"] == 500
    assert report["retrieval"]["recall@100"]["value"] > report["pipeline"]["hr@10"]["value"]
