"""Popularity as of each query: interactions counted up to the second before it."""

from __future__ import annotations

import numpy as np

from contracts.clock import DAY_S
from contracts.ids import FloatArray, IntArray, LongArray
from training.evaluation.ranked import ScoreBlocks
from training.evaluation.test_day import TestDay
from training.features.events import EventTable


class Popularity:
    """Counts of interactions before a time, all of them or those of the last days.

    Args:
        events: all events.
        num_items: I.
        window_days: None counts from the beginning.
    """

    def __init__(self, events: EventTable, num_items: int, window_days: int | None = None) -> None:
        order = np.argsort(events.timestamp, kind="stable")
        self._time = events.timestamp[order]
        self._until = _RunningCounts(events.item_row[order], num_items)
        self._expired = _RunningCounts(events.item_row[order], num_items)
        self._window_s = None if window_days is None else window_days * DAY_S

    def at(self, times: LongArray) -> FloatArray:
        """Counts [B, I] of the events strictly before each time [B]; times must ascend, also from call to call."""
        counts = self._until.first(np.searchsorted(self._time, times))
        if self._window_s is None:
            return counts
        return counts - self._expired.first(np.searchsorted(self._time, times - self._window_s))

    def blocks(self, day: TestDay, block_rows: int) -> ScoreBlocks:
        """Scores of all queries of a test day."""
        for start in range(0, len(day), block_rows):
            queries = np.arange(start, min(start + block_rows, len(day)))
            yield queries, self.at(day.time[queries])


class _RunningCounts:
    """Counts of the first n rows for growing n."""

    def __init__(self, rows: IntArray, num_items: int) -> None:
        self._rows = rows
        self._done = 0
        self._counts = np.zeros(num_items, dtype=np.float32)

    def first(self, bounds: LongArray) -> FloatArray:
        """Counts [B, I] of the first `bounds` [B] rows."""
        block = np.zeros((len(bounds), len(self._counts)), dtype=np.float32)
        new = np.arange(self._done, bounds[-1])
        np.add.at(block, (np.searchsorted(bounds, new, side="right"), self._rows[new]), 1)
        block[0] += self._counts
        np.cumsum(block, axis=0, out=block)
        self._done, self._counts = int(bounds[-1]), block[-1].copy()
        return block
