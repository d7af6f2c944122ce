"""String columns as two mapped arrays: UTF-8 bytes and offsets. Any number of replicas share one copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contracts.ids import AnyArray, LongArray

_NULL = "\x00"


@dataclass(frozen=True)
class StringColumn:
    """n strings; None is allowed and kept apart from the empty string.

    Attributes:
        offsets: [n + 1] int64.
        data: UTF-8 bytes of all strings, uint8.
    """

    offsets: LongArray
    data: NDArray[np.uint8]

    @classmethod
    def pack(cls, values: Sequence[str | None]) -> StringColumn:
        """Packs strings in memory."""
        encoded = [(_NULL if value is None else value).encode() for value in values]
        offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(text) for text in encoded], out=offsets[1:])
        return cls(offsets, np.frombuffer(b"".join(encoded), dtype=np.uint8))

    def save(self, stem: Path) -> None:
        """Writes `<stem>.offsets.npy` and `<stem>.data.npy`."""
        stem.parent.mkdir(parents=True, exist_ok=True)
        np.save(stem.with_name(stem.name + ".offsets.npy"), self.offsets)
        np.save(stem.with_name(stem.name + ".data.npy"), self.data)

    def fault(self) -> str | None:
        """Why these arrays are no column; None if they are one. Whether the bytes are UTF-8 is not looked at."""
        if (self.offsets.dtype, self.offsets.ndim, self.data.dtype, self.data.ndim) != (
            np.dtype(np.int64),
            1,
            np.dtype(np.uint8),
            1,
        ):
            return f"offsets are {self.offsets.dtype} and data {self.data.dtype}, expected int64 and uint8, both flat"
        if len(self.offsets) == 0 or self.offsets[0] != 0 or self.offsets[-1] != len(self.data):
            return f"the offsets do not span the {len(self.data)} bytes of the data"
        if (np.diff(self.offsets) < 0).any():
            return "the offsets do not grow"
        return None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> str | None:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} is outside a column of {len(self)} strings")
        text = self.data[self.offsets[row] : self.offsets[row + 1]].tobytes().decode()
        return None if text == _NULL else text

    def __iter__(self) -> Iterator[str | None]:
        return (self[row] for row in range(len(self)))


_NPY_HEADER = 128


def map_array(path: Path) -> AnyArray:
    """Maps a .npy file read-only; an empty array cannot be mapped and is read."""
    mode: Literal["r"] | None = "r" if path.stat().st_size > _NPY_HEADER else None
    array: AnyArray = np.load(path, mmap_mode=mode, allow_pickle=False)
    return np.asarray(array)  # a plain view of the mapping: `memmap` makes every slice of it an object of its own
