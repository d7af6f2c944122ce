"""Draws from many discrete distributions at once."""

from __future__ import annotations

import numpy as np

from contracts.ids import LongArray
from training.simulator.traits import Codes, DoubleArray

_ALMOST_ONE = 1 - 1e-9


class InverseCdf:
    """Distributions laid end to end; a draw is one binary search in one ascending array.

    Args:
        weights: not negative, [T]; need not sum to 1.
        segments: the distribution that each weight belongs to, ascending from 0 [T].
    """

    def __init__(self, weights: DoubleArray, segments: Codes) -> None:
        total = np.bincount(segments, weights)
        before = np.concatenate(([0.0], np.cumsum(total)))[segments]
        inside = np.divide(
            np.cumsum(weights) - before, total[segments], where=total[segments] > 0, out=np.zeros(len(weights))
        )
        self._ascending = segments + np.clip(inside, 0.0, 1.0)

    @classmethod
    def of_rows(cls, weights: DoubleArray) -> InverseCdf:
        """One distribution per row of [R, M]; a draw is row * M + column."""
        rows, columns = weights.shape
        return cls(weights.ravel(), np.repeat(np.arange(rows), columns))

    def draw(self, segments: Codes, rng: np.random.Generator) -> LongArray:
        """One draw from each named distribution, whose weights must not all be zero: positions in `weights`."""
        uniform = np.minimum(rng.random(len(segments)), _ALMOST_ONE)
        return np.searchsorted(self._ascending, segments + uniform, side="right")
