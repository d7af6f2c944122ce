"""Builds batches of tensors from event rows, in a thread ahead of the training steps."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import torch
from torch import Tensor

from contracts.catalogue import ItemFeatures
from contracts.clock import DAY_S
from contracts.errors import ConfigError
from contracts.features import ITEM_AGE_EDGES_DAYS, NUM_ITEM_AGE_BUCKETS, item_age_bucket
from contracts.ids import IntArray, LongArray
from contracts.transforms import FittedTransforms
from training.features.events import EventTable
from training.features.processed import Processed
from training.models.inputs import QueryTensors
from training.popularity import counts_by_day, relative_popularity
from training.trainers.workers import total

_CHUNK_ROWS: Final = 16_384
_CHUNKS_AHEAD: Final = 2
_POLL_S: Final = 0.1
NOT_LAUNCHED: Final = NUM_ITEM_AGE_BUCKETS
"""Age bucket of items that are not launched yet."""


@dataclass(frozen=True)
class Batch:
    """B training rows.

    Attributes:
        queries: features as of just before each row.
        positives: ItemRow of each row [B] int64.
        now: Unix seconds [B] int64.
        day: shop-local day after the first day of the data [B] int64.
        hidden: [B] bool, positives whose id becomes out of vocabulary.
        label: [B] float32; 1 if the tables have no labels.
    """

    queries: QueryTensors
    positives: Tensor
    now: Tensor
    day: Tensor
    hidden: Tensor
    label: Tensor

    def __len__(self) -> int:
        return len(self.positives)

    def __getitem__(self, part: slice) -> Batch:
        return Batch(*(getattr(self, field.name)[part] for field in fields(self)))

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class WorkerData:
    """Data of one worker, for training and validation.

    Attributes:
        events: its subjects' events.
        items: the catalogue.
        encoded_id: [I] int32.
        transforms: the fitted transforms.
        first_day: first shop-local day of the data.
        num_days: shop-local days of the data.
        train_rows: rows of the training positives.
        labelled_rows: rows of the training days that carry a label.
        validation_rows: rows of the validation day's positives.
    """

    events: EventTable
    items: ItemFeatures
    encoded_id: IntArray
    transforms: FittedTransforms
    first_day: int
    num_days: int
    train_rows: LongArray
    labelled_rows: LongArray
    validation_rows: LongArray

    def batch(self, rows: LongArray, *, history_length: int, history_days: int, masked: bool) -> Batch:
        """The inputs of event rows [B].

        It uses NumPy only: a tensor operation in the input thread would start a second pool of OpenMP threads, and two
        pools on the same cores slow every training step (measured: half the rows per second).
        """
        features = self.events.query_features(
            rows, self.transforms, length=history_length, history_days=history_days, masked=masked
        )
        label = np.ones(len(rows), np.float32) if self.events.label is None else self.events.label[rows]
        return Batch(
            QueryTensors.from_features(features),
            torch.from_numpy(self.events.item_row[rows].astype(np.int64)),
            torch.from_numpy(features.now),
            torch.from_numpy(self.events.day[rows].astype(np.int64) - self.first_day),
            torch.from_numpy(self.events.mask_item[rows]),
            torch.from_numpy(label),
        )

    def counts(self, device: torch.device) -> Tensor:
        """Training positives of each item over all workers, [I] int64."""
        counts = np.bincount(self.events.item_row[self.train_rows], minlength=len(self.items))
        return total(torch.from_numpy(counts).to(device))

    def age_buckets_by_day(self) -> Tensor:
        """Age bucket of each item at the start of each day [D, I] int64; `NOT_LAUNCHED` until its day of launch."""
        calendar = self.transforms.calendar
        starts = np.array([calendar.start_of_day(self.first_day + day) for day in range(self.num_days + 1)])
        buckets = item_age_bucket(self.items.launched_at[None], starts[:-1, None])
        launched = self.items.launched_at[None] < starts[1:, None]
        return torch.from_numpy(np.where(launched, buckets, NOT_LAUNCHED).astype(np.int64))

    def popularity_by_day(self, device: torch.device) -> Tensor:
        """`relative_popularity` of each item at the start of each day, over all workers' events, [D, I] float32."""
        events, last_day = self.events, self.first_day + self.num_days - 1
        counts = counts_by_day(
            events.item_row, events.timestamp, len(self.items), self.transforms.calendar, self.first_day, last_day
        )
        summed = total(torch.from_numpy(counts).to(device))
        return torch.from_numpy(relative_popularity(summed.cpu().numpy())).to(device)


def load_worker_data(
    processed: Processed, items: ItemFeatures, *, worker: int, num_workers: int, validation_rows: int
) -> WorkerData:
    """The part of a processed run that one worker trains on: whole partitions of subjects.

    Args:
        processed: the processed run.
        items: its catalogue with embeddings.
        worker: this worker's number.
        num_workers: all workers.
        validation_rows: most validation events of all workers together, spread evenly over the day.

    Raises:
        ConfigError: there are more workers than partitions.
    """
    if num_workers > processed.num_partitions:
        raise ConfigError(
            f"num_workers is {num_workers}, the processed run has {processed.num_partitions} partitions; "
            "lower num_workers or raise preprocess.num_partitions"
        )
    info = processed.info
    events = processed.events(range(worker, processed.num_partitions, num_workers))
    validation = events.rows_between(info.validation_day, info.validation_end_day)
    labelled = np.zeros(len(events), dtype=bool) if events.label is None else ~np.isnan(events.label)
    wanted = min(len(validation), -(-validation_rows // num_workers))
    return WorkerData(
        events=events,
        items=items,
        encoded_id=processed.item_encoded_id,
        transforms=processed.transforms,
        first_day=info.first_day,
        num_days=info.last_day - info.first_day + 1,
        train_rows=events.rows_between(info.first_day, info.train_end_day),
        labelled_rows=np.flatnonzero(labelled & (events.day >= info.first_day) & (events.day <= info.train_end_day)),
        validation_rows=validation[np.linspace(0, len(validation), wanted, endpoint=False).astype(np.int64)],
    )


def age_buckets(launched_at: Tensor, now: Tensor) -> Tensor:
    """`contracts.features.item_age_bucket` for tensors: buckets int64, broadcast over both (Unix seconds)."""
    days = (now - launched_at).clamp(min=0) // DAY_S
    edges = torch.tensor(ITEM_AGE_EDGES_DAYS, device=days.device)
    return torch.bucketize(days, edges, right=True)


def epoch_batches(
    build: Callable[[LongArray], Batch], rows: LongArray, num_batches: int, rng: np.random.Generator, first: int = 0
) -> Generator[Batch]:
    """All rows in random order, in batches of nearly equal size, from batch number `first` on.

    The same generator gives the same batches. A thread that works ahead builds tensors in chunks of many batches.
    """
    order = rows[rng.permutation(len(rows))]
    ends = np.linspace(0, len(order), num_batches + 1).astype(np.int64)
    chunk = max(1, _CHUNK_ROWS * num_batches // len(order))
    starts = range(first, num_batches, chunk)
    parts = _ahead(lambda start: build(order[ends[start] : ends[min(start + chunk, num_batches)]]), starts)
    for start, part in zip(starts, parts, strict=True):
        for number in range(start, min(start + chunk, num_batches)):
            yield part[ends[number] - ends[start] : ends[number + 1] - ends[start]]


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
