from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality import Hits, gain, over_runs
from contracts.errors import DataError


def test_a_figure_is_the_mean_over_the_runs_with_its_spread() -> None:
    found = over_runs([{"hr": 0.1, "cold": None}, {"hr": 0.2, "cold": 0.3}, {"hr": 0.3, "cold": 0.3}])
    assert found["hr"].value == pytest.approx(0.2)
    assert (found["hr"].low, found["hr"].high) == (0.1, 0.3)
    assert found["hr_std"].value == pytest.approx(0.1)
    assert found["cold"].value is None
    assert found["cold"].reason == "1 of 3 runs have no value"


def test_a_single_run_has_no_spread() -> None:
    assert list(over_runs([{"hr": 0.1}])) == ["hr"]


def hits(*hit: float, names: str = "abcd") -> Hits:
    """Two events of user 0 and two of user 1; the last item is cold."""
    return Hits(
        tuple(names), np.array([0, 0, 1, 1], dtype=np.int32), np.array([False, False, False, True]), np.array(hit)
    )


def test_a_columns_worth_is_the_mean_difference_of_the_same_events() -> None:
    # Seeds of the first draw: 1/4 and 2/4 without, 3/4 and 2/4 with. The second draw: 0 and 1.
    first = [(hits(1, 0, 0, 0), hits(1, 1, 1, 0)), (hits(1, 1, 0, 0), hits(1, 1, 0, 0))]
    found = gain([first, [(hits(0, 0, 0, 0), hits(1, 1, 1, 1))]])
    assert found["hr@10_without"].value == pytest.approx((0.375 + 0) / 2)
    assert found["hr@10_declared"].value == pytest.approx((0.625 + 1) / 2)
    assert found["hr@10_gain"].value == pytest.approx((0.25 + 1) / 2)
    assert found["hr@10_cold_item_gain"].value == pytest.approx((0 + 1) / 2)
    low, high = found["hr@10_gain"].low, found["hr@10_gain"].high
    # Four users with gains of 1/4, 1/4, 1 and 1: every draw of them lies between.
    assert low is not None
    assert high is not None
    assert 0.25 <= low < 0.625 < high <= 1


def test_runs_over_other_events_are_not_compared() -> None:
    with pytest.raises(DataError, match="two runs of one draw have other test events"):
        gain([[(hits(0, 0, 0, 0), hits(0, 0, 0, 0, names="abce"))]])
