"""SplitMix64: numbers that a seed and a place name, in any order and on any machine.

Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from contracts.ids import Words

GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
"""What the state grows by from one output to the next."""
_ROUNDS: Final = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))


def mix(state: Words) -> Words:
    """The outputs of states [...]; output n of a seed is that of seed + n · `GAMMA`, modulo 2^64."""
    for shift, factor in _ROUNDS:
        state = (state ^ (state >> np.uint64(shift))) * factor
    return np.asarray(state ^ (state >> np.uint64(31)))
