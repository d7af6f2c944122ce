"""History features from stored recent items and those in the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from contracts.bundle import Bundle
from contracts.features import History, history_features
from contracts.ids import PAD_ROW
from contracts.messages import RequestBatch
from contracts.user_records import RecentItems


class HistoryBuilder:
    """Turns recent raw ids into history features, as offline: the last N interactions before now.

    Args:
        item_rows: ItemRow of each raw item id.
        length: N; 0 = no history.
        days: age limit.
    """

    def __init__(self, item_rows: Mapping[str, int], length: int, days: int) -> None:
        self._item_rows = item_rows
        self._length = length
        self._days = days

    @classmethod
    def open(cls, bundle: Bundle) -> HistoryBuilder:
        """Opens a builder with the history length of the bundle's models."""
        reach = bundle.manifest.history
        return cls(bundle.item_rows, reach.length, reach.days)

    def __call__(self, batch: RequestBatch, recent: Sequence[RecentItems]) -> History:
        """History of each request; leaves out items that the catalogue lacks, as offline.

        Recent items of the request count as interactions at now, after the stored ones.
        """
        shape = (len(batch), self._length)
        rows = np.full(shape, PAD_ROW, dtype=np.int32)
        timestamps = np.full(shape, batch.now, dtype=np.int64)
        for request, (sent, stored) in enumerate(zip(batch.recent_items, recent, strict=True)):
            newest = [(row, batch.now) for item in reversed(sent) if (row := self._item_rows.get(item)) is not None]
            older = [
                (row, time)
                for item, time in zip(stored.item_ids, stored.timestamps, strict=True)
                if time <= batch.now and (row := self._item_rows.get(item)) is not None
            ]
            for place, (row, time) in enumerate((newest + older)[: self._length]):
                rows[request, place] = row
                timestamps[request, place] = time
        return history_features(rows, timestamps, np.full(len(batch), batch.now, dtype=np.int64), self._days)
