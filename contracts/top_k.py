"""The order of candidates: highest score first, exact ties by ItemRow."""

from __future__ import annotations

from typing import Final

import numpy as np

from contracts.ids import FloatArray, IntArray, LongArray

_LOW_BITS: Final = np.int64(0xFFFFFFFF)
_MAX_ROW: Final = np.int64(0x7FFFFFFF)


def sort_keys(scores: FloatArray, rows: IntArray) -> LongArray:
    """Keys, int64, whose descending order is the order of candidates; broadcast over both arguments.

    The upper half holds the bits of the score, changed so that they compare like floats; the lower half holds the
    reversed row. Scores must not be NaN.
    """
    bits = (np.asarray(scores, dtype=np.float32) + np.float32(0)).view(np.int32).astype(np.int64)  # + 0: -0.0 is 0.0
    return (_turn(bits) << 32) | (_MAX_ROW - rows)


def from_keys(keys: LongArray) -> tuple[IntArray, FloatArray]:
    """Inverts `sort_keys`: rows and scores of the same shape."""
    rows = (_MAX_ROW - (keys & _LOW_BITS)).astype(np.int32)
    return rows, _turn(keys >> 32).astype(np.int32).view(np.float32)


def top_k(scores: FloatArray, rows: IntArray, k: int) -> tuple[IntArray, FloatArray]:
    """The k best candidates of each query, best first.

    Args:
        scores: [B, M] float32, not NaN.
        rows: ItemRow, [M] or [B, M].
        k: at least 1.

    Returns:
        Rows [B, min(k, M)] int32 and their scores [B, min(k, M)] float32.
    """
    keys = sort_keys(scores, rows)
    surplus = keys.shape[1] - k
    if surplus > 0:
        keys = np.partition(keys, surplus, axis=1)[:, surplus:]
    keys = np.ascontiguousarray(np.sort(keys, axis=1)[:, ::-1])
    return from_keys(keys)


def _turn(bits: LongArray) -> LongArray:
    """Changes the bits of negative float32 numbers so that they compare like the numbers; its own inverse."""
    return np.where(bits < 0, bits ^ _MAX_ROW, bits)
