"""Figures on impressions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from contracts import columns as c
from contracts.clock import DAY_S
from contracts.errors import SchemaError
from tests.fixtures.raw_tables import write_table
from tests.fixtures.tiny_run import FIRST_DAY, LAST_DAY, write_processed
from training.evaluation.bootstrap import resampled
from training.evaluation.clicks import click_section, fit_id_biases, has_impressions
from training.evaluation.config import EvaluationConfig
from training.features.processed import Processed, open_processed


def impressions(num_rows: int, seed: int = 0) -> dict[str, list[object]]:
    """Item i1 is always clicked, i2 never, i3 every second time; days go round."""
    rng = np.random.default_rng(seed)
    item = rng.integers(0, 3, num_rows)
    day = FIRST_DAY + np.arange(num_rows) % (LAST_DAY - FIRST_DAY + 1)
    return {
        c.REQUEST_ID: [f"r{row}" for row in range(num_rows)],
        c.USER_ID: [f"u{row % 5 + 1}" for row in range(num_rows)],
        c.ITEM_ID: [f"i{number + 1}" for number in item],
        c.POSITION: [0] * num_rows,
        c.TIMESTAMP: [int(number) * DAY_S + 60 for number in day],
        c.CLICKED: [bool(number == 0 or (number == 2 and row % 2)) for row, number in enumerate(item)],
        c.DEVICE_TYPE: ["mobile"] * num_rows,
    }


@pytest.fixture
def processed(tmp_path: Path) -> Processed:
    folder = write_processed(tmp_path / "processed")
    info = json.loads((folder / "processed.json").read_text())
    (folder / "processed.json").write_text(json.dumps({**info, "raw_dir": str(tmp_path / "raw")}))
    return open_processed(folder)


def test_id_biases_learn_from_the_known_rows_only() -> None:
    item = np.repeat([0, 1, 2], 400)
    clicked = np.concatenate([np.ones(400), np.zeros(400), np.arange(400) % 2]).astype(bool)
    table = pa.table(
        {
            "subject": np.zeros(1200, dtype=np.int32),
            "item_row": item,
            "position": np.zeros(1200, dtype=np.int64),
            "device_type": pa.nulls(1200, pa.string()),
            "clicked": clicked,
        }
    )
    known = item < 2
    probabilities = fit_id_biases(table, known)
    assert probabilities[item == 0].min() > 0.95
    assert probabilities[item == 1].max() < 0.05
    assert probabilities[item == 2] == pytest.approx(0.5, abs=0.05)  # never learned: the common bias


def test_the_section_has_every_metric_with_its_interval(processed: Processed, tmp_path: Path) -> None:
    write_table(tmp_path / "raw/impressions/day=2026-01-01", impressions(2_800))
    section = click_section(processed, {}, EvaluationConfig(), has_oracle=False)
    assert section is not None
    logistic = section["methods"]["logistic"]
    assert set(logistic) == {"auc", "log_loss", "calibration_error"}
    assert logistic["auc"]["n"] == 200
    assert logistic["auc"]["low"] <= logistic["auc"]["value"] <= logistic["auc"]["high"]
    assert logistic["auc"]["value"] > 0.85
    assert section["negatives"] == "shown and not clicked"


def test_without_impressions_on_the_last_day_there_is_no_section(processed: Processed, tmp_path: Path) -> None:
    rows = impressions(13)  # one a day, none on the last one
    write_table(tmp_path / "raw/impressions/day=2026-01-01", rows)
    assert click_section(processed, {}, EvaluationConfig(), has_oracle=False) is None


def test_a_missing_column_is_an_error(processed: Processed, tmp_path: Path) -> None:
    rows = impressions(14)
    del rows[c.POSITION]
    write_table(tmp_path / "raw/impressions/day=2026-01-01", rows)
    with pytest.raises(SchemaError, match="position"):
        click_section(processed, {}, EvaluationConfig(), has_oracle=False)


def test_a_shop_may_log_none(tmp_path: Path) -> None:
    assert not has_impressions(tmp_path)
    (tmp_path / "impressions").mkdir()
    assert has_impressions(tmp_path)


def test_users_are_drawn_with_all_their_rows() -> None:
    users, values = np.array([2, 1, 2, 1]), np.array([0.0, 1.0, 0.0, 1.0])
    seen = set()

    def mean(rows: np.ndarray) -> float:
        seen.add(float(rows.mean()))
        return float(rows.mean())

    estimate = resampled(users, mean, [values], 200, seed=0)
    assert seen == {0.0, 0.5, 1.0}  # never a user's half
    assert (estimate.value, estimate.low, estimate.high, estimate.n) == (0.5, 0.0, 1.0, 4)


def test_a_statistic_that_cannot_be_had_is_null() -> None:
    estimate = resampled(np.array([1, 2]), lambda _: float("nan"), [np.zeros(2)], 10, seed=0)
    assert (estimate.value, estimate.low, estimate.high) == (None, None, None)
