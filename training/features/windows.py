"""Windows of consecutive events of a subject: a transformer is trained at every position of a window at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.ids import IntArray, LongArray
from training.features.events import EventTable
from training.ranges import expand


@dataclass(frozen=True)
class EventWindows:
    """W windows that cover all training rows; each row is trained in one window.

    Windows of one subject overlap by half, so that a training row has at least half a window of events before it in its
    window, or all there are.

    Attributes:
        starts: first event row of each window [W].
        stops: the event row after its last [W].
        train_rows: training rows, ascending [R].
        first, last: the window trains train_rows[first] … train_rows[last - 1], at least one, [W] each.
    """

    starts: LongArray
    stops: LongArray
    train_rows: LongArray
    first: LongArray
    last: LongArray

    @classmethod
    def cut(cls, events: EventTable, train_rows: LongArray, length: int) -> EventWindows:
        """Cuts windows of `length` events, 2 or more, up to the last training row of each subject.

        Args:
            events: of whole subjects.
            train_rows: their training rows, ascending.
            length: most events of a window.
        """
        step, begins = length // 2, events.offsets[:-1]
        last_row = np.append(train_rows, -1)[np.searchsorted(train_rows, events.offsets[1:]) - 1]  # -1: none so far
        size = np.maximum(last_row + 1 - begins, 0)
        number = np.where(size > 0, 1 + -(-np.maximum(size - length, 0) // step), 0)
        subject, ordinal = expand(np.zeros_like(number), number)
        starts = begins[subject] + ordinal * step
        stops = np.minimum(starts + length, begins[subject] + size[subject])
        trains_from = np.where(ordinal == 0, starts, starts + length - step)
        first, last = np.searchsorted(train_rows, trains_from), np.searchsorted(train_rows, stops)
        used = last > first
        return cls(starts[used], stops[used], train_rows, first[used], last[used])

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def num_rows(self) -> LongArray:
        """Training rows of each window [W]."""
        return self.last - self.first

    def training_rows(self, chosen: LongArray) -> tuple[LongArray, LongArray, LongArray]:
        """The training rows of some windows [P], the window of each among the chosen, and its place in that window."""
        owners, places = expand(self.first[chosen], self.last[chosen])
        rows = self.train_rows[places]
        return rows, owners, rows - self.starts[chosen][owners]

    def event_rows(self, chosen: LongArray) -> tuple[LongArray, IntArray]:
        """Event rows of some windows [n, L], the last one repeated, and the number of events of each [n]."""
        length = self.stops[chosen] - self.starts[chosen]
        rows = self.starts[chosen][:, None] + np.arange(max(2, length.max(initial=0)))
        return np.minimum(rows, self.stops[chosen][:, None] - 1), length
