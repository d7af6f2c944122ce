"""Counts of items, and of items that follow each other in a session, up to a day."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from contracts.features import SESSION_GAP_S
from contracts.ids import IntArray, LongArray
from training.features.events import EventTable


@dataclass(frozen=True)
class SessionCounts:
    """Counts by encoded id, 0 = out of vocabulary; P pairs, ascending.

    Attributes:
        counts: events of each id [V].
        before, after: two ids of which the second followed the first at once in a session; neither is 0 [P].
        times: how often [P].
    """

    counts: LongArray
    before: LongArray
    after: LongArray
    times: LongArray

    @classmethod
    def of(cls, parts: Iterable[EventTable], encoded_id: IntArray, num_ids: int, last_day: int) -> SessionCounts:
        """Counts the events of whole subjects.

        Args:
            parts: tables of events, each with subjects of its own.
            encoded_id: by ItemRow [I].
            num_ids: V.
            last_day: later days are not counted.
        """
        counts, pairs = np.zeros(num_ids, dtype=np.int64), np.zeros(0, dtype=np.int64)
        times = np.zeros(0, dtype=np.int64)
        for events in parts:
            ids, counted = encoded_id[events.item_row].astype(np.int64), events.day <= last_day
            counts += np.bincount(ids[counted], minlength=num_ids)
            follows = counted[1:] & (events.subject[1:] == events.subject[:-1])
            follows &= (np.diff(events.timestamp) < SESSION_GAP_S) & (ids[1:] > 0) & (ids[:-1] > 0)
            later = np.flatnonzero(follows) + 1
            found, number = np.unique(ids[later - 1] * num_ids + ids[later], return_counts=True)
            pairs, place = np.unique(np.concatenate([pairs, found]), return_inverse=True)
            times = np.bincount(place, np.concatenate([times, number]), minlength=len(pairs)).astype(np.int64)
        return cls(counts, pairs // num_ids, pairs % num_ids, times)
