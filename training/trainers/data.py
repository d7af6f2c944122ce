"""Data of a training worker, and its batches of tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from contracts.catalogue import ItemFeatures
from contracts.clock import DAY_S
from contracts.errors import ConfigError
from contracts.features import ITEM_AGE_EDGES_DAYS, NUM_ITEM_AGE_BUCKETS, item_age_bucket
from contracts.ids import PAD_ROW, IntArray, LongArray
from contracts.transforms import FittedTransforms
from training.features.events import EventTable
from training.features.masking import MASK_ALL
from training.features.processed import Processed
from training.features.windows import EventWindows
from training.models.inputs import QueryTensors
from training.models.windows import Windows
from training.popularity import counts_by_day, relative_popularity
from training.trainers.workers import total

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
        windows: the rows' histories, as windows of events; None = the queries have histories of their own.
    """

    queries: QueryTensors
    positives: Tensor
    now: Tensor
    day: Tensor
    hidden: Tensor
    label: Tensor
    windows: Windows | None = None

    def __len__(self) -> int:
        return len(self.positives)

    def units(self, part: slice) -> Batch:
        """Some of the training rows, or the rows of some of the windows."""
        if self.windows is None:
            return self._of_rows(part)
        return replace(self._of_rows(self.windows.training_rows(part)), windows=self.windows[part])

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        windows = None if self.windows is None else self.windows.map(lambda tensor: tensor.to(device))
        return replace(self, windows=windows, **{name: value.to(device) for name, value in self._by_row().items()})

    def _of_rows(self, part: slice) -> Batch:
        return type(self)(**{name: value[part] for name, value in self._by_row().items()})

    def _by_row(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "windows"}


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

    def batch_of_windows(self, windows: EventWindows, chosen: LongArray, *, masked: bool) -> Batch:
        """As `batch`, of the training rows of some windows, by number."""
        rows, owners, places = windows.training_rows(chosen)
        events, length = windows.event_rows(chosen)
        inside = np.arange(events.shape[1]) < length[:, None]
        found = Windows(
            torch.from_numpy(np.where(inside, self.events.item_row[events], PAD_ROW).astype(np.int64)),
            torch.from_numpy(self.events.timestamp[events].astype(np.int64)),
            torch.from_numpy(owners),
            torch.from_numpy(places),
            torch.from_numpy(masked & (self.events.mask[rows] >= MASK_ALL)),
        )
        return replace(self.batch(rows, history_length=0, history_days=1, masked=masked), windows=found)

    def counts(self, device: torch.device) -> Tensor:
        """Training positives of each item over all workers, [I] int64."""
        counts = np.bincount(self.events.item_row[self.train_rows], minlength=len(self.items))
        return total(torch.from_numpy(counts).to(device))

    def knowing_its_items(self, device: torch.device) -> WorkerData:
        """The same with the ids of items that have a training positive of any worker; the others become 0."""
        known = self.counts(device).cpu().numpy() > 0
        return replace(self, encoded_id=np.where(known, self.encoded_id, 0).astype(np.int32))

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
    processed: Processed,
    items: ItemFeatures,
    *,
    worker: int,
    num_workers: int,
    validation_rows: int,
    last_day: int | None = None,
) -> WorkerData:
    """The part of a processed run that one worker trains on: whole partitions of subjects.

    Args:
        processed: the processed run.
        items: its catalogue with embeddings.
        worker: this worker's number.
        num_workers: all workers.
        validation_rows: most validation events of all workers together, spread evenly over the day.
        last_day: last day to train on; None = the last training day. Validation rows are those after it.

    Raises:
        ConfigError: there are more workers than partitions.
    """
    if num_workers > processed.num_partitions:
        raise ConfigError(
            f"num_workers is {num_workers}, the processed run has {processed.num_partitions} partitions; "
            "lower num_workers or raise preprocess.num_partitions"
        )
    info = processed.info
    end = info.train_end_day if last_day is None else last_day
    events = processed.events(range(worker, processed.num_partitions, num_workers))
    validation = events.rows_between(max(info.validation_day, end + 1), info.validation_end_day)
    labelled = np.zeros(len(events), dtype=bool) if events.label is None else ~np.isnan(events.label)
    wanted = min(len(validation), -(-validation_rows // num_workers))
    return WorkerData(
        events=events,
        items=items,
        encoded_id=processed.item_encoded_id,
        transforms=processed.transforms,
        first_day=info.first_day,
        num_days=info.last_day - info.first_day + 1,
        train_rows=events.rows_between(info.first_day, end),
        labelled_rows=np.flatnonzero(labelled & (events.day >= info.first_day) & (events.day <= end)),
        validation_rows=validation[np.linspace(0, len(validation), wanted, endpoint=False).astype(np.int64)],
    )


def age_buckets(launched_at: Tensor, now: Tensor) -> Tensor:
    """`contracts.features.item_age_bucket` for tensors: buckets int64, broadcast over both (Unix seconds)."""
    days = (now - launched_at).clamp(min=0) // DAY_S
    edges = torch.tensor(ITEM_AGE_EDGES_DAYS, device=days.device)
    return torch.bucketize(days, edges, right=True)
