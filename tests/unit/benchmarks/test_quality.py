from __future__ import annotations

import pytest

from benchmarks.quality import over_runs


def test_a_figure_is_the_mean_over_the_runs_with_its_spread() -> None:
    found = over_runs([{"hr": 0.1, "cold": None}, {"hr": 0.2, "cold": 0.3}, {"hr": 0.3, "cold": 0.3}])
    assert found["hr"].value == pytest.approx(0.2)
    assert (found["hr"].low, found["hr"].high) == (0.1, 0.3)
    assert found["hr_std"].value == pytest.approx(0.1)
    assert found["cold"].value is None
    assert found["cold"].reason == "1 of 3 runs have no value"


def test_a_single_run_has_no_spread() -> None:
    assert list(over_runs([{"hr": 0.1}])) == ["hr"]
