"""Point-in-time top categories of all events of a partition at once.

Equal to `contracts.features.top_category` and `most_frequent`, which serving applies to one subject.
"""

from __future__ import annotations

from collections import defaultdict
from heapq import heappop, heappush
from typing import Final

import numpy as np

from contracts.features import TOP_CATEGORY_EVENTS, TOP_CATEGORY_WINDOW_S
from contracts.ids import IntArray, LongArray

_MAX_CELLS: Final = 2_000_000  # (window, category) pairs held at a time; bounds the memory


def day_starts(offsets: LongArray, days: IntArray) -> tuple[LongArray, LongArray]:
    """First rows of each run of one subject and day [R], and the run of each row [E]."""
    first = np.zeros(len(days), dtype=bool)
    first[offsets[:-1][np.diff(offsets) > 0]] = True
    first[1:] |= days[1:] != days[:-1]
    return np.flatnonzero(first), np.cumsum(first) - 1


def top_categories(
    codes: IntArray, timestamps: LongArray, days: IntArray, offsets: LongArray
) -> tuple[IntArray, IntArray]:
    """Both top categories as of just before each event.

    Args:
        codes: category codes [E], 0 = none; the events of subject s are rows offsets[s] … offsets[s + 1] - 1.
        timestamps: Unix seconds [E], ascending within a subject.
        days: shop-local days [E].
        offsets: [S + 1].

    Returns:
        `top_category` [E]: as of just after the subject's previous event (`contracts.features.top_category`); and
        `top_category_long` [E]: the same over all events of earlier days. Ties go to the newest, 0 = none.
    """
    subject = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    after = last_window_mode(codes, timestamps, offsets, np.arange(len(codes)), subject)
    before = np.zeros(len(codes), dtype=np.int32)
    before[1:] = np.where(subject[1:] == subject[:-1], after[:-1], 0)
    runs, run_of_row = day_starts(offsets, days)
    long = window_mode(codes, offsets, subject[runs], offsets[subject[runs]], runs)
    return before, long[run_of_row]


def last_window_mode(
    codes: IntArray, timestamps: LongArray, offsets: LongArray, rows: LongArray, subject: LongArray
) -> IntArray:
    """`top_category` as of just after each of the rows [Q], which belong to subjects [Q] ascending."""
    if len(rows) == 0:
        return np.zeros(0, dtype=np.int32)
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    relative = timestamps - timestamps.min()
    stride = int(relative.max()) + TOP_CATEGORY_WINDOW_S + 1  # keeps windows within their subject
    keys = owner * stride + relative
    starts = np.searchsorted(keys, keys[rows] - TOP_CATEGORY_WINDOW_S, side="right")
    starts = np.maximum.reduce([starts, offsets[subject], rows + 1 - TOP_CATEGORY_EVENTS])
    return window_mode(codes, offsets, subject, starts, rows + 1)


def window_mode(
    codes: IntArray, offsets: LongArray, subject: LongArray, starts: LongArray, ends: LongArray
) -> IntArray:
    """Most frequent code of each window of rows [start, end); ties go to the newest, 0 = none.

    The cost is windows × distinct categories of their subject, for windows of any length. Subjects for which this is
    too much are processed event by event.

    Args:
        codes: category codes [E]; 0 does not count.
        offsets: rows of each subject [S + 1].
        subject: subject of each window [Q], ascending.
        starts: first row of each window [Q], never falling within a subject.
        ends: row after each window [Q], never falling within a subject.
    """
    sizes = np.diff(offsets)
    num_codes = int(codes.max(initial=0)) + 1
    windows = np.bincount(subject, minlength=len(sizes))
    own_cells = (sizes + windows) * np.minimum(sizes, num_codes)
    cells, large = np.cumsum(own_cells), np.flatnonzero(own_cells > _MAX_CELLS)
    cuts = np.searchsorted(cells, np.arange(_MAX_CELLS, cells.max(initial=0) + 1, _MAX_CELLS))
    bounds = np.unique(np.concatenate([[0], cuts, large, large + 1, [len(sizes)]]).astype(np.int64))
    result = np.zeros(len(subject), dtype=np.int32)
    window_at = np.searchsorted(subject, bounds)
    for low, high, first, last in zip(bounds[:-1], bounds[1:], window_at[:-1], window_at[1:], strict=True):
        base = offsets[low]
        if own_cells[low] > _MAX_CELLS:
            result[first:last] = _sliding_mode(codes, starts[first:last], ends[first:last])
            continue
        result[first:last] = _window_mode(
            codes[base : offsets[high]],
            offsets[low : high + 1] - base,
            subject[first:last] - low,
            starts[first:last] - base,
            ends[first:last] - base,
        )
    return result


def _window_mode(
    codes: IntArray, offsets: LongArray, subject: LongArray, starts: LongArray, ends: LongArray
) -> IntArray:
    """`window_mode` of a few subjects: prefix counts of each (subject, category), looked up at both window ends."""
    sizes = np.diff(offsets)
    rows = np.flatnonzero(codes)
    if len(rows) == 0 or len(subject) == 0:
        return np.zeros(len(subject), dtype=np.int32)
    owner = np.repeat(np.arange(len(sizes)), sizes)[rows]
    num_codes = int(codes.max()) + 1
    pairs, pair_of_row = np.unique(owner * num_codes + codes[rows], return_inverse=True)
    pair_subject = pairs // num_codes
    lane = np.concatenate([[0], np.cumsum(sizes[pair_subject])])  # each pair has a place per event of its subject
    at = lane[pair_of_row] + rows - offsets[owner]
    before = np.zeros(lane[-1] + 1, dtype=np.int64)
    before[at + 1] = 1
    newest = np.maximum.accumulate(np.where(before[1:] > 0, np.arange(lane[-1]), 0))
    before = np.cumsum(before)

    num_pairs = np.bincount(pair_subject, minlength=len(sizes))
    per_window = num_pairs[subject]
    window = np.repeat(np.arange(len(subject)), per_window)
    cell_at = np.cumsum(per_window) - per_window
    first_pair = (np.cumsum(num_pairs) - num_pairs)[subject]
    pair = np.arange(len(window)) - np.repeat(cell_at - first_pair, per_window)
    shift = lane[pair] - offsets[subject][window]
    end = shift + ends[window]
    count = before[end] - before[shift + starts[window]]
    position = newest[np.maximum(end - 1, 0)] - lane[pair]  # of the newest event; means nothing where count is 0
    stride = int(sizes.max()) + 1
    score = np.where(count > 0, count * stride + position + 1, 0)
    best = np.zeros(len(subject), dtype=np.int64)
    some = per_window > 0
    best[some] = np.maximum.reduceat(score, cell_at[some]) if some.any() else 0
    winner = offsets[subject] + best % stride - 1
    return np.where(best > 0, codes[np.maximum(winner, 0)], 0).astype(np.int32)


def _sliding_mode(codes: IntArray, starts: LongArray, ends: LongArray) -> IntArray:
    """`window_mode` of one subject in memory proportional to its events: moves the counts, a heap has the largest.

    The heap also holds outdated counts; they are removed when they reach its top.
    """
    counts: defaultdict[int, int] = defaultdict(int)
    newest: dict[int, int] = {}
    heap: list[tuple[int, int, int]] = []
    result = np.zeros(len(starts), dtype=np.int32)
    first = last = int(starts[0]) if len(starts) else 0
    values = codes[first : int(ends.max(initial=first))].tolist()
    base = first
    for window, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        for row in range(last, end):
            if code := values[row - base]:
                counts[code] += 1
                newest[code] = row
                heappush(heap, (-counts[code], -row, code))
        last = max(last, end)
        for row in range(first, min(start, last)):
            if code := values[row - base]:
                counts[code] -= 1
                heappush(heap, (-counts[code], -newest[code], code))
        first = max(first, start)
        while heap and (heap[0][0] != -counts[heap[0][2]] or heap[0][1] != -newest[heap[0][2]]):
            heappop(heap)
        if heap and heap[0][0] < 0:
            result[window] = heap[0][2]
    return result
