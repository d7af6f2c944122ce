"""SplitMix64: random numbers by seed and index, in any order and equal on all machines.

Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from contracts.ids import Words

GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
"""Increment of the state between two outputs."""
_ROUNDS: Final = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))


def mix(state: Words) -> Words:
    """Outputs of states [...]; output n of a seed is that of the state seed + n · `GAMMA` modulo 2^64."""
    for shift, factor in _ROUNDS:
        state = (state ^ (state >> np.uint64(shift))) * factor
    return np.asarray(state ^ (state >> np.uint64(31)))
