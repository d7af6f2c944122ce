"""Changes single rings of Bloom filters, item by item, as interactions arrive.

Plain Python: for a few words, making NumPy arrays costs more than computing with them.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from contracts.bloom import RingLayout, damaged


@dataclass(slots=True)
class _Slot:
    """A slot of a ring: its day, its number of items, and the words of its filters."""

    day: int = -1
    count: int = 0
    words: bytearray = field(default_factory=bytearray)


class RingEditor:
    """Changes rings of one layout.

    Args:
        layout: of the rings.
    """

    def __init__(self, layout: RingLayout) -> None:
        self._layout = layout
        self._sizes = [int(size) for size in layout.filter_words]
        self._capacities = [int(capacity) for capacity in layout.capacities]
        self._words_of = list(accumulate(self._sizes, initial=0))

    def add(self, ring: bytes | None, hashes: Sequence[Sequence[int]], days: Sequence[int]) -> bytes:
        """Adds interactions to a ring; interactions older than the day in their slot are left out.

        Items that a filter already contains change nothing.

        Args:
            ring: the present ring, None for a new subject.
            hashes: a pair from `item_hashes` for each of n items.
            days: shop-local days of the n interactions.

        Raises:
            StoreError: the ring has another layout.
        """
        slots = self._split(ring)
        for (position, mask), day in zip(hashes, days, strict=True):
            slot = slots[day % len(slots)]
            if day > slot.day:
                slot = slots[day % len(slots)] = _Slot(day)
            if day == slot.day:
                self._put(slot, position >> 32, mask)
        return self._join(slots)

    def newer_days(self, base: bytes | None, ring: bytes | None, last_day: int) -> bytes:
        """Joins the days of `base` up to `last_day` with the later days of `ring`.

        Raises:
            StoreError: a ring has another layout.
        """
        both = zip(self._split(base), self._split(ring), strict=True)
        return self._join([new if new.day > last_day else old for old, new in both])

    def num_items(self, ring: bytes | None) -> dict[int, int]:
        """Number of items by shop-local day.

        Raises:
            StoreError: the ring has another layout.
        """
        return {slot.day: slot.count for slot in self._split(ring) if slot.count}

    def _split(self, ring: bytes | None) -> list[_Slot]:
        """Splits a ring into slots, each with the words of its filters."""
        if ring is None:
            return [_Slot() for _ in range(self._layout.window_days)]
        if len(ring) < 8 * self._layout.head_words:
            raise damaged()
        header, *heads = struct.unpack_from(f"<{self._layout.head_words}Q", ring)
        if header != self._layout.header:
            raise self._layout.foreign(header)
        slots, start = [], 8 * self._layout.head_words
        for head in heads:
            day, count = head >> 32, head & 0xFFFF_FFFF
            if not count:
                slots.append(_Slot())
                continue
            end = start + 8 * self._words_of[self._num_filters(count)]
            slots.append(_Slot(day, count, bytearray(ring[start:end])))
            start = end
        if start != len(ring):
            raise damaged()
        return slots

    def _join(self, slots: Sequence[_Slot]) -> bytes:
        heads = [slot.day << 32 | slot.count if slot.count else 0 for slot in slots]
        head = struct.pack(f"<{self._layout.head_words}Q", self._layout.header, *heads)
        return head + b"".join(slot.words for slot in slots)

    def _put(self, slot: _Slot, half: int, mask: int) -> None:
        """Adds an item to a day's filters, unless one of them contains it."""
        num_filters = self._num_filters(slot.count)
        start = 0
        for size in self._sizes[:num_filters]:
            at = 8 * (start + (half * size >> 32))
            if int.from_bytes(slot.words[at : at + 8], "little") & mask == mask:
                return
            start += size
        size = self._sizes[self._num_filters(slot.count + 1) - 1]
        if self._num_filters(slot.count + 1) > num_filters:
            slot.words.extend(bytes(8 * size))
        else:
            start -= size
        at = 8 * (start + (half * size >> 32))
        word = int.from_bytes(slot.words[at : at + 8], "little") | mask
        slot.words[at : at + 8] = word.to_bytes(8, "little")
        slot.count += 1

    def _num_filters(self, count: int) -> int:
        return bisect_left(self._capacities, count) + 1 if count else 0
