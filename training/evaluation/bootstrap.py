"""Intervals by bootstrap clustered by user: it draws users, since the events of one user are not independent.

Source: Field & Welsh, "Bootstrapping clustered data", JRSS B 69 (2007).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

import numpy as np
from numpy.typing import NDArray

from contracts.ids import AnyArray, BoolArray
from training.ranges import expand

_TAIL: Final = 0.025
Replicates = NDArray[np.float64]


class Figure(TypedDict):
    """An estimate in report.json; low and high are the ends of its 95 % interval, n the number of values."""

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Estimate:
    """A mean of n values with its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    def json(self) -> Figure:
        """As it is written in report.json."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


class UserBootstrap:
    """Draws users once for all figures, so that differences and ratios are paired.

    Args:
        users: the user of each value [n], any integers.
        num_replicates: R.
        seed: of the draws.
    """

    def __init__(self, users: AnyArray, num_replicates: int, seed: int) -> None:
        names, self._user = np.unique(users, return_inverse=True)
        self._num_users = len(names)
        rng = np.random.default_rng(seed)
        shares = np.full(self._num_users, 1 / max(self._num_users, 1))
        self._draws = rng.multinomial(self._num_users, shares, size=num_replicates).astype(np.float32)

    def mean(self, values: AnyArray, where: BoolArray | None = None) -> Estimate:
        """The mean of some of the values [n] with its interval."""
        chosen = np.ones(len(values), dtype=bool) if where is None else where
        return self.means([values], chosen)[0]

    def means(self, values: Sequence[AnyArray], where: BoolArray) -> list[Estimate]:
        """The means of several values, each [n], over the same rows."""
        count = int(where.sum())
        if count == 0:
            return [Estimate(None, None, None, 0) for _ in values]
        points = [float(column[where].mean()) for column in values]
        return [_estimate(*pair, count) for pair in zip(points, self._replicates(values, where).T, strict=True)]

    def captured_share(self, model: AnyArray, base: AnyArray, ceiling: AnyArray, where: BoolArray) -> Estimate:
        """(model - base) / (ceiling - base) of the means; None where the ceiling is not above the base."""
        count = int(where.sum())
        gained, possible = model - base, ceiling - base
        if count == 0 or possible[where].mean() <= 0:
            return Estimate(None, None, None, count)
        drawn = self._replicates([gained, possible], where)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(drawn[:, 1] > 0, drawn[:, 0] / drawn[:, 1], np.nan)
        return _estimate(float(gained[where].mean() / possible[where].mean()), ratios, count)

    def _replicates(self, values: Sequence[AnyArray], where: BoolArray) -> Replicates:
        """The means in each replicate [R, M]; NaN where none of the rows was drawn."""
        user = self._user[where]
        sums = [np.bincount(user, weights=column[where], minlength=self._num_users) for column in values]
        counts = np.bincount(user, minlength=self._num_users)
        totals = self._draws @ np.stack([*sums, counts], axis=1).astype(np.float32)
        with np.errstate(invalid="ignore"):
            return np.asarray(totals[:, :-1] / totals[:, -1:], dtype=np.float64)


def resampled(
    users: AnyArray,
    statistic: Callable[..., float],
    arrays: Sequence[AnyArray],
    num_replicates: int,
    seed: int,
) -> Estimate:
    """A statistic that is not a mean, such as AUC, with its interval; users are drawn with all their rows.

    Args:
        users: the user of each row [n].
        statistic: takes the arrays' rows.
        arrays: each [n].
        num_replicates: R.
        seed: of the draws.
    """
    order = np.argsort(users, kind="stable")
    _, starts, sizes = np.unique(users[order], return_index=True, return_counts=True)
    rng = np.random.default_rng(seed)
    replicates = []
    for _ in range(num_replicates):
        drawn = rng.integers(len(starts), size=len(starts))
        _, places = expand(starts[drawn], starts[drawn] + sizes[drawn])
        replicates.append(statistic(*(array[order[places]] for array in arrays)))
    return _estimate(statistic(*arrays), np.array(replicates), len(users))


def _estimate(value: float, replicates: Replicates, count: int) -> Estimate:
    if not np.isfinite(value):
        return Estimate(None, None, None, count)
    usable = replicates[np.isfinite(replicates)]
    if usable.size == 0:
        return Estimate(value, None, None, count)
    low, high = np.quantile(usable, [_TAIL, 1 - _TAIL])
    return Estimate(value, float(low), float(high), count)
