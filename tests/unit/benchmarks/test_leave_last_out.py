from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.last_events import figures_of
from benchmarks.leave_last_out import Trial, config_of, main, of_baselines, over_seeds
from benchmarks.sequence_tables import convert_recbole, process
from contracts.errors import ConfigError
from tests.fixtures.plain_preprocess import run_without_ray
from training.features import preprocess as job
from training.features.processed import Processed

NUM_USERS, NUM_ITEMS, NUM_EVENTS = 40, 12, 8
TINY = [
    "epochs=12",
    "batch_size=32",
    "learning_rate=0.01",
    "fixed_threads=true",
    "threads=1",
    "model.output_dim=8",
    "model.hidden_dims=[8]",
    "model.history_length=4",
    "model.history_dim=8",
    "model.transformer.blocks=1",
    "model.transformer.dropout=0",
    "model.dropout=0",
]


@pytest.fixture
def circle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Processed:
    """Every user meets the items in the order of their numbers, from another one on."""
    monkeypatch.setattr(job, "_run", run_without_ray)
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(NUM_USERS):
        lines += [f"u{user}\ti{(user + place) % NUM_ITEMS:02d}\t{1_000 * place}" for place in range(NUM_EVENTS)]
    (tmp_path / "circle.inter").write_text("\n".join(lines) + "\n")
    convert_recbole(tmp_path, tmp_path / "raw")
    (tmp_path / "work").mkdir()
    return process(tmp_path / "raw", tmp_path / "work", order_only=False)


def test_the_model_learns_what_follows_in_the_training_and_keeps_its_best_epoch(circle: Processed) -> None:
    trial = Trial(circle, config_of(TINY, seed=0))
    before = figures_of(trial.ranks(trial.split.test))
    assert trial.train() > 0
    after = figures_of(trial.ranks(trial.split.test))
    assert after["ndcg10"] > before["ndcg10"]
    assert after["ndcg10"] > 0.9
    assert np.isin(trial.data.train_rows, trial.split.train).all()
    assert not np.isin(trial.split.test, trial.data.train_rows).any()


def test_a_figure_is_the_mean_over_the_seeds() -> None:
    found = over_seeds([{"hr10": 0.1, "train_s": 5.0}, {"hr10": 0.3, "train_s": 7.0}])
    assert found["hr10"].value == pytest.approx(0.2)
    assert (found["hr10"].low, found["hr10"].high, found["hr10"].unit) == (0.1, 0.3, "share")
    assert found["train_s"].unit == "s"


def test_baselines_that_were_not_measured_have_the_reason() -> None:
    found = of_baselines({"popularity_hr10": 0.1, "popularity_ndcg10": 0.05}, "too large")
    assert found["popularity_hr10"].value == 0.1
    assert found["ease_hr10"].value is None
    assert found["ease_hr10"].reason == "too large"


def test_settings_can_be_replaced_and_are_checked() -> None:
    config = config_of(["epochs=3", "model.transformer.blocks=1"], seed=7)
    assert (config.epochs, config.model.transformer.blocks, config.seed) == (3, 1, 7)
    assert config.model.history == "transformer"
    with pytest.raises(ConfigError, match=r"unknown key 'model\.block'"):
        main(["--recbole", "nowhere", "model.block=1"])


def test_without_tables_all_figures_are_skipped_with_the_reason(tmp_path: Path) -> None:
    main(["--json", str(tmp_path / "figures.json")])
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    names = {
        f"{method}{cut}10" for method in ("", "markov_", "ease_", "popularity_", "item_knn_") for cut in ("hr", "ndcg")
    }
    assert set(figures) == names | {"train_s"}
    assert all(figure["value"] is None and "--raw" in figure["reason"] for figure in figures.values())
