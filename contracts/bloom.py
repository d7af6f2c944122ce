"""Seen items as a ring of daily Bloom filters, one string of 64-bit words a subject, in pure NumPy.

A day's filter is a list of blocked filters (Putze et al. 2009): an item touches one word and sets one bit in each of
its eight bytes (the split block of Parquet). The first filter takes 64 items. When it is full, another one with twice
the capacity and a third of the error rate is appended (after Almeida et al. 2007, scalable Bloom filters): memory grows
with the subject's activity, and the rate stays under its bound. Bits are never cleared; whole days expire.

Layout, little-endian uint64 words, W days in the window:

    0          version << 48 | W << 32 | words of the first filter; rings of another layout are refused
    1 … W      slot s, the newest active day with day mod W = s: day << 32 | items of that day
    W + 1 …    the filters of slot 0, then of slot 1, …; the item count gives the number of filters
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from contracts.errors import StoreError
from contracts.ids import BoolArray, IntArray, LongArray, Words

VERSION: Final = 1
FIRST_CAPACITY: Final = 64
MAX_FILTERS: Final = 8
"""Filters of one day: 16,320 items within the error rate; the last filter also takes all further items."""
_TIGHTENING: Final = 3
_MAX_LOAD: Final = 32
_LANES: Final = 8
_LANE_BITS: Final = 8
_LOW: Final = np.uint64(0xFFFF_FFFF)
_HALF: Final = np.uint64(32)


def item_hashes(raw_ids: Sequence[str]) -> Words:
    """Hashes items, equally in every process: [n, 2] uint64.

    Returns:
        Column 0 chooses a word of a filter, column 1 is the mask of the bits to set in it.
    """
    digests = b"".join(hashlib.blake2b(raw.encode(), digest_size=16).digest() for raw in raw_ids)
    hashes = np.frombuffer(digests, dtype="<u8").reshape(-1, 2).astype(np.uint64)
    mask = np.zeros(len(hashes), dtype=np.uint64)
    for lane in range(_LANES):
        bit = (hashes[:, 1] >> np.uint64(3 * lane)) & np.uint64(7)
        mask |= np.uint64(1) << (bit + np.uint64(lane * _LANE_BITS))
    hashes[:, 1] = mask
    return hashes


def num_words(capacity: int, error_rate: float) -> int:
    """The fewest words whose false-positive rate at capacity is at most `error_rate`.

    The number of items in a word is Poisson distributed; n items leave a bit of a lane unset with probability (7/8)^n.
    """
    items = np.arange(128)
    hit = (1 - (1 - 1 / _LANE_BITS) ** items) ** _LANES
    log_factorial = np.cumsum(np.log(np.maximum(items, 1)))

    def rate(words: int) -> float:
        load = capacity / words
        return float(np.sum(np.exp(items * np.log(load) - load - log_factorial) * hit))

    low = capacity // _MAX_LOAD
    high = low + 1
    while rate(high) > error_rate:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if rate(middle) > error_rate else (low, middle)
    return high


@dataclass(frozen=True)
class RingLayout:
    """Sizes of a ring's filters. Builds and opens rings; `contracts.bloom_edit` changes single rings.

    Attributes:
        error_rate: share of unseen items that all days of a ring together may report as seen.
        window_days: days in the ring, today included.
    """

    error_rate: float
    window_days: int

    @cached_property
    def filter_words(self) -> LongArray:
        """[MAX_FILTERS] words of a day's first, second … filter; together they keep to the day's share of the rate."""
        first_rate = self.error_rate / self.window_days * (1 - 1 / _TIGHTENING)
        return np.array([num_words(FIRST_CAPACITY << n, first_rate / _TIGHTENING**n) for n in range(MAX_FILTERS)])

    @cached_property
    def _filter_starts(self) -> LongArray:
        return np.concatenate([[0], np.cumsum(self.filter_words)])

    @cached_property
    def capacities(self) -> LongArray:
        """[MAX_FILTERS - 1] items that fit into one, two … filters."""
        return FIRST_CAPACITY * (2 ** np.arange(1, MAX_FILTERS) - 1)

    @cached_property
    def header(self) -> int:
        """The first word of a ring."""
        return (VERSION << 48) | (self.window_days << 32) | int(self.filter_words[0])

    @property
    def head_words(self) -> int:
        """Words before the filters."""
        return 1 + self.window_days

    def num_filters(self, counts: LongArray) -> LongArray:
        """Number of filters of days with these item counts, [n] or [B, W]; 0 for no items."""
        return np.where(counts > 0, np.searchsorted(self.capacities, counts) + 1, 0)

    def build(self, owners: LongArray, hashes: Words, days: LongArray, num_rings: int) -> list[bytes]:
        """Rings of many subjects from their interactions, in any order.

        Args:
            owners: ring of each interaction, [n], 0 … num_rings - 1.
            hashes: of its item, [n, 2].
            days: its shop-local day, [n].
            num_rings: number of rings to build.
        """
        slots = days % self.window_days
        newest = np.full((num_rings, self.window_days), -1, dtype=np.int64)
        np.maximum.at(newest, (owners, slots), days)
        kept = days == newest[owners, slots]
        group = (owners * self.window_days + slots)[kept]
        order = np.lexsort((_arrival(hashes[kept]), group))
        group, item = group[order], hashes[kept][order]
        fresh = (np.diff(group, prepend=-1) != 0) | (np.diff(item[:, 0], prepend=item[:1, 0]) != 0)
        group, item = group[fresh], item[fresh]
        counts = np.bincount(group, minlength=newest.size)
        rank = np.arange(len(group)) - (np.cumsum(counts) - counts)[group]

        sizes = self._filter_starts[self.num_filters(counts)].reshape(newest.shape)
        lengths = self.head_words + sizes.sum(axis=1)
        ends = np.cumsum(lengths)
        heads = ends - lengths
        starts = (heads + self.head_words)[:, None] + np.cumsum(sizes, axis=1) - sizes
        words = np.zeros(lengths.sum(), dtype=np.uint64)
        words[heads] = self.header
        slot_words = (newest.astype(np.uint64) << _HALF) | counts.reshape(newest.shape).astype(np.uint64)
        words[heads[:, None] + 1 + np.arange(self.window_days)] = np.where(newest < 0, np.uint64(0), slot_words)
        number = np.searchsorted(self.capacities, rank, side="right")
        first = starts.ravel()[group] + self._filter_starts[number]
        np.bitwise_or.at(words, first + _position(item, self.filter_words[number]), item[:, 1])
        data = words.astype("<u8").tobytes()
        return [data[8 * head : 8 * end] for head, end in zip(heads.tolist(), ends.tolist(), strict=True)]

    def open(self, rings: Sequence[bytes | None], today: int) -> Rings:
        """Opens the rings of B subjects for the window that ends today.

        Raises:
            StoreError: a ring has another layout or is damaged.
        """
        values = [b"" if ring is None else ring for ring in rings]
        sizes = np.array([len(value) // 8 for value in values], dtype=np.int64)
        words = np.frombuffer(b"".join(value[: len(value) // 8 * 8] for value in values), dtype="<u8")
        heads = np.cumsum(sizes) - sizes
        counts = np.zeros((len(rings), self.window_days), dtype=np.int64)
        starts = np.zeros_like(counts)
        there = np.array([row for row, ring in enumerate(rings) if ring is not None], dtype=np.int64)
        if len(there):
            self._check(words, heads[there], sizes[there])
            slots = words[heads[there, None] + 1 + np.arange(self.window_days)]
            every_count = (slots & _LOW).astype(np.int64)
            used = self._filter_starts[self.num_filters(every_count)]
            if (8 * (self.head_words + used.sum(axis=1)) != [len(values[row]) for row in there]).any():
                raise damaged()
            day = (slots >> _HALF).astype(np.int64)
            alive = (day > today - self.window_days) & (day <= today)
            counts[there] = np.where(alive, every_count, 0)
            starts[there] = (heads[there] + self.head_words)[:, None] + np.cumsum(used, axis=1) - used
        return Rings(self, words.astype(np.uint64, copy=False), starts, counts)

    def _check(self, words: Words, heads: LongArray, sizes: LongArray) -> None:
        if not sizes.all():
            raise damaged()
        other = (words[heads] != self.header) | (sizes < self.head_words)
        if other.any():
            found = int(words[heads[np.argmax(other)]])
            raise self.foreign(found)

    def foreign(self, found: int) -> StoreError:
        """The error for a ring that starts with the word `found` instead of the header."""
        return StoreError(
            f"a seen ring has the layout {found:#x}, expected {self.header:#x}: the window or the error rate "
            "was changed; run the materialize job to rewrite the rings"
        )


@dataclass(frozen=True)
class Rings:
    """The opened rings of B subjects.

    Attributes:
        layout: sizes of the filters.
        words: all rings, concatenated.
        starts: first word of the filters of each slot, [B, W].
        counts: items of each slot, [B, W]; 0 if the slot's day is outside the window.
        unreadable: indices of subjects whose ring cannot be read; they count as having seen nothing.
    """

    layout: RingLayout
    words: Words
    starts: LongArray
    counts: LongArray
    unreadable: frozenset[int] = frozenset()

    @property
    def filled(self) -> LongArray:
        """Indices of the subjects that have seen something."""
        return np.flatnonzero(self.counts.any(axis=1))

    async def about(self, hashes: Words, rows: IntArray, owners: LongArray) -> Rings:
        """Returns itself: whole rings need no further call to the store."""
        return self

    def seen(self, hashes: Words, owners: LongArray) -> BoolArray:
        """Whether items with hashes [T, 2] are in the rings of their owners [T].

        Returns:
            [T]; never False for an item that was added within the window.
        """
        num_filters = self.layout.num_filters(self.counts)
        deepest = int(num_filters.max(initial=0))
        result = np.zeros(len(owners), dtype=np.bool_)
        if deepest == 0:
            return result
        sizes = self.layout.filter_words[:deepest]
        nothing = len(self.words)  # slots without this filter point to zeros
        words = np.concatenate([self.words, np.zeros(sizes.max(), dtype=np.uint64)])
        mask = np.ascontiguousarray(hashes[:, 1])
        offset = 0
        for number, size in enumerate(sizes.tolist()):
            has = num_filters > number
            first = np.where(has, self.starts + offset, nothing)
            position = _position(hashes, size)
            for slot in np.flatnonzero(
                np.logical_or.reduce(has, axis=0)
            ):  # arrays [T] stay in the cache, [T, W] do not
                found = words[first[:, slot][owners] + position]
                result |= (found & mask) == mask
            offset += size
        return result


def damaged() -> StoreError:
    """The error for a ring with a wrong length."""
    return StoreError("a seen ring is damaged: its length does not fit its counts; run the materialize job")


def _arrival(hashes: Words) -> Words:
    """A distinct key for each item whose order is independent of the position in a filter."""
    return (hashes[:, 0] << _HALF) | (hashes[:, 0] >> _HALF)


def _position(hashes: Words, sizes: LongArray | int) -> LongArray:
    """Word of each item in a filter of `sizes` words: its 32-bit hash scaled to the size."""
    scaled = ((hashes[:, 0] >> _HALF) * np.asarray(sizes).astype(np.uint64)) >> _HALF
    return scaled.astype(np.int64)
