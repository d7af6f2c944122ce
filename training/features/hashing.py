"""Stable hashes: the partition of a subject, and ids for events that have none."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from contracts.ids import AnyArray, IntArray

HashArray = NDArray[np.uint64]

_HEX: Final = np.array([f"{byte:02x}" for byte in range(256)], dtype="S2")
_DIGITS: Final = 16


def partitions_of(subjects: Iterable[str], num_partitions: int) -> IntArray:
    """Partition of each raw subject id; the same in every process and run."""
    return np.fromiter((zlib.crc32(subject.encode()) % num_partitions for subject in subjects), dtype=np.int32)


def hash_strings(values: Iterable[str]) -> HashArray:
    """64-bit hashes of strings."""
    digests = b"".join(hashlib.blake2b(value.encode(), digest_size=8).digest() for value in values)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def event_id_column(parts: list[AnyArray]) -> pa.StringArray:
    """Ids of events, 16 hexadecimal digits each, from integer columns [E] that tell the events apart.

    The columns are folded by the mixing function of SplitMix64 (Steele, Lea and Flood, 2014).
    """
    state = np.zeros(len(parts[0]), dtype=np.uint64)
    for part in parts:
        state = _mix(state ^ part.astype(np.uint64))
    digits = _HEX[np.ascontiguousarray(state.astype(">u8")).view(np.uint8)]
    offsets = np.arange(0, (len(state) + 1) * _DIGITS, _DIGITS, dtype=np.int64)
    large = pa.LargeStringArray.from_buffers(len(state), pa.py_buffer(offsets), pa.py_buffer(digits.tobytes()))
    return large.cast(pa.string())


def _mix(state: HashArray) -> HashArray:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
