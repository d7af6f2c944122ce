"""Distinct strings with look-up by text: a string column and a hash table over it, without a Python string for each.

The table uses open addressing with linear probing and keeps its entries in the order of their hashes (Amble and Knuth,
"Ordered hash tables", 1974). So its content does not depend on the order of insertion, and NumPy can fill it in one
sweep: an entry lies in its home slot, or directly after the previous entry if that slot is taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, cast, overload

import numpy as np

from contracts.ids import IntArray, LongArray, Words
from contracts.strings import StringColumn

_SLOTS_PER_TOKEN: Final = 2
"""Half of the slots stay empty: an unknown string is recognised after 2.5 slots on average."""
_HALF: Final = 32
_SPOT_CHECKS: Final = 16


@dataclass(frozen=True, eq=False)
class IndexedTokens(Sequence[str]):
    """A sequence of n distinct strings with look-up by text.

    Attributes:
        column: the strings.
        slots: [more than 2n] int32, 1 + the row of the string in a slot, 0 = empty. The last slot is always empty,
            so that every search ends.
    """

    column: StringColumn
    slots: IntArray

    @classmethod
    def build(cls, column: StringColumn) -> IndexedTokens:
        """Indexes a column.

        Raises:
            ValueError: a string occurs twice.
        """
        digests = bytearray()
        for text in column.encoded():
            digests += _hash(text)  # joining bytes objects would take 56 bytes for each hash of 8
        hashes = np.frombuffer(digests, dtype="<u8")
        order = np.argsort(hashes, kind="stable")
        hashes = hashes[order]
        same = hashes[1:] == hashes[:-1]
        _check_distinct(column, np.union1d(order[1:][same], order[:-1][same]).tolist())
        rank = np.arange(len(column))
        places = _homes(hashes, _capacity(column)) - rank
        np.maximum.accumulate(places, out=places)
        places += rank
        slots = np.zeros(max(_capacity(column), places.max(initial=0) + 1) + 1, dtype=np.int32)
        slots[places] = order + 1
        return cls(column, slots)

    def fault(self) -> str | None:
        """Says why the arrays are not indexed tokens; None if they are. Only a few tokens are looked up."""
        if fault := self.column.fault():
            return fault
        slots, count, capacity = self.slots, len(self), _capacity(self.column)
        if (slots.dtype, slots.ndim) != (np.dtype(np.int32), 1):
            return f"the index is {slots.dtype} with {slots.ndim} dimensions, expected int32 with 1"
        if len(slots) <= capacity or slots[-1] != 0:
            return f"the index has {len(slots)} slots, expected more than {capacity} of which the last is empty"
        if slots.min() < 0 or slots.max() > count or np.count_nonzero(slots) != count:
            return (
                f"the index has {np.count_nonzero(slots)} entries in [{slots.min()}, {slots.max()}], expected each of "
                f"1 to {count}"
            )
        for row in np.linspace(0, count - 1, min(count, _SPOT_CHECKS), dtype=np.int64).tolist():
            if (found := self.get(self[row])) != row + 1:
                return f"the index finds {self[row]!r} in place {found}, expected {row + 1}: it is of other tokens"
        return None

    def get(self, value: str | None, default: int = 0) -> int:
        """1 + the row of a string; the default for None and unknown strings."""
        if value is None:
            return default
        text = value.encode(
            errors="surrogatepass"
        )  # a client's text may hold half of a surrogate pair, tokens never do
        offsets, data, slots = self.column.offsets, self.column.data, self.slots
        place = (int.from_bytes(_hash(text), "little") >> _HALF) * _capacity(self.column) >> _HALF
        while found := slots.item(place):
            start, end = offsets.item(found - 1), offsets.item(found)
            if end - start == len(text) and data[start:end].tobytes() == text:
                return found
            place += 1
        return default

    def __len__(self) -> int:
        return len(self.column)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...

    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        rows = range(len(self))[place]
        return tuple(map(self._token, rows)) if isinstance(rows, range) else self._token(rows)

    def __iter__(self) -> Iterator[str]:
        return cast(Iterator[str], iter(self.column))

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and self.get(value) > 0

    def _token(self, row: int) -> str:
        return cast(str, self.column[row])  # a vocabulary refuses None


def _capacity(column: StringColumn) -> int:
    """Number of home slots; entries that do not fit into the last ones lie behind them."""
    return max(_SLOTS_PER_TOKEN * len(column), 1)


def _hash(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=8).digest()


def _homes(hashes: Words, capacity: int) -> LongArray:
    """Home slots [n] of hashes: the upper half of the bits, scaled to the capacity."""
    homes = hashes >> np.uint64(_HALF)
    homes *= np.uint64(capacity)
    homes >>= np.uint64(_HALF)
    return homes.view(np.int64)


def _check_distinct(column: StringColumn, rows: list[int]) -> None:
    seen = set()
    for row in rows:
        if (token := column[row]) in seen:
            raise ValueError(f"token {token!r} occurs twice; tokens must be distinct")
        seen.add(token)
