from __future__ import annotations

import numpy as np

from contracts.splitmix import GAMMA, mix


def test_the_first_outputs_of_seed_0() -> None:
    """As the authors' reference implementation gives them."""
    states = GAMMA * np.arange(1, 4, dtype=np.uint64)
    assert [f"{output:016x}" for output in mix(states)] == ["e220a8397b1dcdaf", "6e789e6aa1b965f4", "06c45d188009454f"]
