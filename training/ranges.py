"""Ragged ranges, without a loop."""

from __future__ import annotations

import numpy as np

from contracts.ids import AnyArray, LongArray


def expand(starts: AnyArray, ends: AnyArray) -> tuple[LongArray, LongArray]:
    """All (range number, place) pairs of the ranges [start, end), in order."""
    lengths = np.maximum(ends - starts, 0)
    owners = np.repeat(np.arange(len(lengths)), lengths)
    places = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + starts[owners]
    return owners, places
