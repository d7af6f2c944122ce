"""The order of an epoch's batches, built in a thread ahead of the training steps."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np

from contracts.ids import LongArray
from training.trainers.data import Batch

_CHUNK_ROWS: Final = 16_384
_CHUNKS_AHEAD: Final = 2
_POLL_S: Final = 0.1
_POOL_BATCHES: Final = 16
"""Units are sorted by length among those of this many batches."""


@dataclass(frozen=True)
class Units:
    """What an epoch visits once each, in random order.

    Attributes:
        ids: what a task builds batches from: event rows, or windows of events [U].
        rows: training rows in each [U], 1 or more.
        lengths: size of each when it is padded [U]: units of a batch have similar ones; None = all are alike.
    """

    ids: LongArray
    rows: LongArray
    lengths: LongArray | None = None

    @classmethod
    def of_rows(cls, rows: LongArray) -> Units:
        """Training rows by themselves."""
        return cls(rows, np.ones(len(rows), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_rows(self) -> int:
        return int(self.rows.sum())

    def batches(self, num_batches: int, rng: np.random.Generator) -> tuple[LongArray, LongArray]:
        """All units in random order, and the ends of batches of nearly equal numbers of rows among them.

        Args:
            num_batches: at most the number of units; every batch has at least one.
            rng: gives the order.

        Returns:
            Ids [U] and ends [num_batches + 1].
        """
        order = rng.permutation(len(self))
        if self.lengths is None:
            return self.ids[order], self._cut(order, num_batches)
        pools = np.array_split(order, -(-num_batches // _POOL_BATCHES))
        order = np.concatenate([pool[np.argsort(self.lengths[pool], kind="stable")] for pool in pools])
        batches = np.split(order, self._cut(order, num_batches)[1:-1])
        mixed = [batches[number] for number in rng.permutation(num_batches)]
        return self.ids[np.concatenate(mixed)], np.cumsum([0, *map(len, mixed)])

    def _cut(self, order: LongArray, num_batches: int) -> LongArray:
        until, number = np.cumsum(self.rows[order]), np.arange(num_batches + 1)
        ends = np.searchsorted(until, np.linspace(0, until[-1], num_batches + 1), side="right")
        ends = np.maximum.accumulate(ends - number) + number
        return np.minimum(ends, len(self) - num_batches + number)


def epoch_batches(
    build: Callable[[LongArray], Batch], units: Units, num_batches: int, rng: np.random.Generator, first: int = 0
) -> Generator[Batch]:
    """All units in random order, in batches of nearly equal numbers of rows, from batch number `first` on.

    The same generator gives the same batches. A thread that works ahead builds tensors in chunks of many batches.
    """
    ids, ends = units.batches(num_batches, rng)
    chunk = max(1, _CHUNK_ROWS * num_batches // units.num_rows)
    starts = range(first, num_batches, chunk)
    parts = _ahead(lambda start: build(ids[ends[start] : ends[min(start + chunk, num_batches)]]), starts)
    for start, part in zip(starts, parts, strict=True):
        for number in range(start, min(start + chunk, num_batches)):
            yield part.units(slice(ends[number] - ends[start], ends[number + 1] - ends[start]))


def _ahead(build: Callable[[int], Batch], arguments: range) -> Generator[Batch]:
    """Yields build(argument) in order; a thread computes a few results ahead."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(_CHUNKS_AHEAD)
    stop = threading.Event()

    def put(result: Batch | BaseException | None) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                ready.put(result, timeout=_POLL_S)
                return

    def work() -> None:
        try:
            for argument in arguments:
                if stop.is_set():
                    return
                put(build(argument))
            put(None)
        except BaseException as error:  # the consumer raises it
            put(error)

    thread = threading.Thread(target=work, name="input-path", daemon=True)
    thread.start()
    try:
        while (result := ready.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        stop.set()
        thread.join()
