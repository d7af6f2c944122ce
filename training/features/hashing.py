"""Stable hashes: partitions of subjects, and ids of events without an id."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from typing import Final

import numpy as np
import pyarrow as pa

from contracts.ids import AnyArray, IntArray, Words
from contracts.splitmix import GAMMA, mix

_HEX: Final = np.array([f"{byte:02x}" for byte in range(256)], dtype="S2")
_DIGITS: Final = 16


def partitions_of(subjects: Iterable[str], num_partitions: int) -> IntArray:
    """Partition of each raw subject id; the same in every process and run."""
    return np.fromiter((zlib.crc32(subject.encode()) % num_partitions for subject in subjects), dtype=np.int32)


def hash_strings(values: Iterable[str]) -> Words:
    """64-bit hashes of strings."""
    digests = b"".join(hashlib.blake2b(value.encode(), digest_size=8).digest() for value in values)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def event_id_column(parts: list[AnyArray]) -> pa.StringArray:
    """Ids of events, 16 hex digits each, from integer columns [E] that together identify an event.

    The columns are folded by SplitMix64.
    """
    state = np.zeros(len(parts[0]), dtype=np.uint64)
    for part in parts:
        state = mix((state ^ part.astype(np.uint64)) + GAMMA)
    digits = _HEX[np.ascontiguousarray(state.astype(">u8")).view(np.uint8)]
    offsets = np.arange(0, (len(state) + 1) * _DIGITS, _DIGITS, dtype=np.int64)
    large = pa.LargeStringArray.from_buffers(len(state), pa.py_buffer(offsets), pa.py_buffer(digits.tobytes()))
    return large.cast(pa.string())
