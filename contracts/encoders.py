"""Encodes raw values of a column as model inputs: one function or class for each kind, NumPy only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, field_validator

from contracts.config import StrictConfig
from contracts.encoded import padded
from contracts.feature import Feature, FeatureKind
from contracts.ids import OOV, AnyArray, FloatArray, IntArray

Values = Sequence[Any] | AnyArray
"""Raw values of a column [n]: strings, None = missing; numbers, NaN = missing; lists of strings; vectors [n, D]."""
Encode = Callable[[Values], AnyArray]
"""Encodes raw values of a column."""
_FARTHEST: Final = 1e6
"""Standard deviations from the mean; no row of a table with fewer than 10^12 rows lies farther out. A request's number
beyond it would make logits infinite."""


class NumberFit(StrictConfig):
    """Statistics of a numeric feature in the training rows, after clip and log."""

    fill: float = 0.0
    """Replaces a missing number."""
    mean: float = 0.0
    """Mean."""
    std: float = Field(default=1.0, gt=0)
    """Standard deviation."""
    edges: tuple[float, ...] = ()
    """Edges of the bins, ascending."""
    means: tuple[float, ...] = ()
    """Means by encoded id of the category that the number is standardised `within`; row 0 has the mean of all items."""
    stds: tuple[PositiveFloat, ...] = ()
    """Standard deviations, likewise."""

    @field_validator("edges")
    @classmethod
    def _rise(cls, edges: tuple[float, ...]) -> tuple[float, ...]:
        if list(edges) != sorted(set(edges)):
            raise ValueError(f"{list(edges)} are not ascending edges")
        return edges


def nothing(feature: Feature, size: int) -> Values:
    """Missing raw values of a feature, [size]."""
    match feature.kind:
        case FeatureKind.CATEGORICAL | FeatureKind.CATEGORIES:
            return (None,) * size
        case FeatureKind.VECTOR:
            return np.zeros((size, feature.length or 0), dtype=np.float32)
        case _:
            return np.full(size, np.nan)


def prepared_numbers(feature: Feature, values: Values) -> NDArray[np.float64]:
    """Numbers of a numeric feature after clip and log, [n] float64; NaN = missing."""
    encode, numbers = feature.encode, np.asarray(values, dtype=np.float64)
    if encode.clip != (None, None):
        numbers = np.clip(numbers, *encode.clip)
    if encode.log == "signed":
        return np.asarray(np.sign(numbers) * np.log1p(np.abs(numbers)))
    if encode.log == "natural":
        usable = numbers > 0
        return np.where(usable, np.log(np.where(usable, numbers, 1.0)), np.nan)
    return numbers


def on_circle(values: AnyArray, period: float) -> FloatArray:
    """Sine and cosine of cyclic values, [n, 2] float32; zeros where a value is missing (NaN)."""
    angles = 2 * np.pi * values / period
    points = np.empty((len(angles), 2), dtype=np.float32)
    np.sin(angles, out=points[:, 0], casting="same_kind")
    np.cos(angles, out=points[:, 1], casting="same_kind")
    return points if values.dtype.kind != "f" else np.nan_to_num(points)


def hashed(values: Values, buckets: int) -> IntArray:
    """Hashes values to encoded ids 1 … buckets, [n] int32; 0 for None."""

    def code(value: str | None) -> int:
        if value is None:
            return OOV
        return int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "little") % buckets + 1

    codes = {value: code(value) for value in dict.fromkeys(values)}
    return np.fromiter(map(codes.__getitem__, values), dtype=np.int32, count=len(values))


@dataclass(frozen=True)
class ListEncoder:
    """Encodes lists of strings (or None) by `encode`, [n, L]; longer lists are cut."""

    encode: Encode
    length: int

    def __call__(self, values: Values) -> IntArray:
        return padded([() if one is None else one[: self.length] for one in values], self.length, self.encode)


@dataclass(frozen=True)
class NumberEncoder:
    """Encodes numbers as numbers [n, 1], with a missing flag [n, 2], or as bins [n] with 0 for missing ones."""

    feature: Feature
    fit: NumberFit

    def __call__(self, values: Values, categories: IntArray | None = None) -> AnyArray:
        """Encodes numbers [n], standardised within categories [n] if these are given, by encoded id."""
        encode, fit = self.feature.encode, self.fit
        numbers = prepared_numbers(self.feature, values)
        missing = np.isnan(numbers)
        if encode.bins is not None:
            return np.where(missing, 0, np.digitize(numbers, fit.edges) + 1).astype(np.int32)
        fill, mean, std = map(np.asarray, (fit.fill, fit.mean, fit.std))
        if categories is not None:
            mean, std = np.array(fit.means)[categories], np.array(fit.stds)[categories]
            fill = mean
        filled = np.where(missing, fill, numbers)
        if encode.standardise:
            filled = np.minimum(np.maximum((filled - mean) / std, -_FARTHEST), _FARTHEST)
        scaled = filled.astype(np.float32)
        return np.stack([scaled, missing], axis=1, dtype=np.float32) if encode.missing_flag else scaled[:, None]
