"""String columns as two mapped arrays, UTF-8 bytes and offsets, which replicas share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from contracts.ids import AnyArray, LongArray

_NULL = "\x00"
_BLOCK: Final = 1 << 16
"""Strings in one block of packing or reading: single strings take several times as long, all at once several times the
memory."""


@dataclass(frozen=True)
class StringColumn:
    """n strings; None is legal and differs from the empty string.

    Attributes:
        offsets: [n + 1] int64.
        data: UTF-8 bytes of all strings, uint8.
    """

    offsets: LongArray
    data: NDArray[np.uint8]

    @classmethod
    def pack(cls, values: Sequence[str | None]) -> StringColumn:
        """Packs strings in memory.

        Raises:
            ValueError: a string holds half of a surrogate pair.
        """
        data = bytearray()
        offsets = np.zeros(len(values) + 1, dtype=np.int64)
        for row in range(0, len(values), _BLOCK):
            try:
                encoded = [(_NULL if value is None else value).encode() for value in values[row : row + _BLOCK]]
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"{error.object!r} holds half of a surrogate pair, for which UTF-8 has no bytes"
                ) from None
            offsets[row + 1 : row + 1 + len(encoded)] = [len(text) for text in encoded]
            data += b"".join(encoded)
        np.cumsum(offsets, out=offsets)
        return cls(offsets, np.frombuffer(bytes(data), dtype=np.uint8))

    @classmethod
    def open(cls, stem: Path) -> StringColumn:
        """Maps the files that `save` wrote; `fault` checks them.

        Raises:
            OSError: a file cannot be read.
            EOFError: a file is empty.
            ValueError: a file is not an array.
        """
        return cls(*(map_array(stem.with_name(f"{stem.name}.{part}.npy")) for part in ("offsets", "data")))

    def save(self, stem: Path) -> None:
        """Writes `<stem>.offsets.npy` and `<stem>.data.npy`."""
        stem.parent.mkdir(parents=True, exist_ok=True)
        np.save(stem.with_name(stem.name + ".offsets.npy"), self.offsets)
        np.save(stem.with_name(stem.name + ".data.npy"), self.data)

    def fault(self) -> str | None:
        """Says why the arrays are not a string column; None if they are. UTF-8 is not checked."""
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

    def extended(self, values: Sequence[str | None]) -> StringColumn:
        """Appends strings; raises as `pack`."""
        more = StringColumn.pack(values)
        offsets = np.concatenate([self.offsets, self.offsets[-1] + more.offsets[1:]])
        return StringColumn(offsets, np.concatenate([self.data, more.data]))

    def encoded(self) -> Iterator[bytes]:
        """The UTF-8 bytes of each string; one zero byte for None."""
        for row in range(0, len(self), _BLOCK):
            offsets = self.offsets[row : row + _BLOCK + 1]
            block = self.data[offsets[0] : offsets[-1]].tobytes()
            yield from (block[start:end] for start, end in pairwise((offsets - offsets[0]).tolist()))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> str | None:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} is outside a column of {len(self)} strings")
        text = self.data[self.offsets[row] : self.offsets[row + 1]].tobytes().decode()
        return None if text == _NULL else text

    def __iter__(self) -> Iterator[str | None]:
        return (None if text == _NULL else text for text in map(bytes.decode, self.encoded()))


_NPY_HEADER = 128


def map_array(path: Path) -> AnyArray:
    """Maps a .npy file read-only; empty arrays cannot be mapped and are read."""
    mode: Literal["r"] | None = "r" if path.stat().st_size > _NPY_HEADER else None
    array: AnyArray = np.load(path, mmap_mode=mode, allow_pickle=False)
    return np.asarray(array)  # a plain view of the mapping: slices of a `memmap` cost more
