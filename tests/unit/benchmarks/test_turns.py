from __future__ import annotations

import math

import pytest

from benchmarks.turns import ratios


def test_ratios_are_geometric_means_with_the_interval_of_their_logs() -> None:
    pairs = [({"ms": 10.0, "errors": 0.0}, {"ms": 20.0, "errors": 0.0}), ({"ms": 10.0}, {"ms": 5.0, "errors": 1.0})]
    found = ratios(pairs)
    assert found["ms"].value == pytest.approx(1.0)  # 2 and 1/2
    half = 12.706 * math.log(2)  # Student's t of one degree of freedom; the standard error of +ln 2 and -ln 2 is ln 2
    assert found["ms"].low == pytest.approx(math.exp(-half), rel=1e-3)
    assert found["ms"].high == pytest.approx(math.exp(half), rel=1e-3)
    assert found["errors"].value is None


def test_one_turn_has_no_interval() -> None:
    (found,) = ratios([({"rps": 100.0}, {"rps": 90.0})]).values()
    assert found.value == pytest.approx(0.9)
    assert (found.low, found.high) == (None, None)
