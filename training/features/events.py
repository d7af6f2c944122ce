"""Processed events of whole subjects, and the query features as of any of them.

Subjects are users, or sessions without a user. Events are sorted by (subject, timestamp, event_id); a row keeps its
subject and position, and history is sliced when a batch is built, never stored as [rows, N].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.features import History, history_features
from contracts.ids import PAD_ROW, AnyArray, BoolArray, FloatArray, IntArray, LongArray
from contracts.messages import QueryFeatures
from contracts.transforms import FittedTransforms, query_arrays

MASK_NONE: Final = 0
MASK_USER_ID: Final = 1
"""Only the user id is out of vocabulary: a registered user without events."""
MASK_USER: Final = 2
"""User id, gender and both top categories are out of vocabulary: the reference's masking."""
MASK_ALL: Final = 3
"""As `MASK_USER`, and the age is the default and the history empty: an anonymous first visit."""


@dataclass(frozen=True)
class EventTable:
    """Events of S whole subjects, E rows.

    Attributes:
        subject_ids: raw user or session ids, [S] object.
        offsets: [S + 1] int64; the events of subject s are rows offsets[s] … offsets[s + 1] - 1, in order of time.
        user_code: encoded user id of each subject, [S] int32; 0 for sessions and users outside the vocabulary.
        gender_code: [S] int32.
        age: [S] float64 years, NaN = not known.
        subject: [E] int32, row of the subject.
        item_row: [E] int32 ItemRow.
        timestamp: [E] int64.
        day: [E] int32, shop-local days since 1970-01-01.
        device_code: [E] int32.
        top_category: [E] int32 codes as of just before the event; 0 = none.
        top_category_long: [E] int32, the same.
        positive: [E] whether the event is a positive.
        seen: [E] whether the event marks the item as seen.
        mask: [E] uint8, one of the `MASK_…` levels; drawn once, so that all models mask the same rows.
        mask_device: [E] bool.
        mask_item: [E] bool: the positive's item id is out of vocabulary in training.
        label: [E] float32, or None when the tables have no labels.
    """

    subject_ids: NDArray[np.object_]
    offsets: LongArray
    user_code: IntArray
    gender_code: IntArray
    age: NDArray[np.float64]
    subject: IntArray
    item_row: IntArray
    timestamp: LongArray
    day: IntArray
    device_code: IntArray
    top_category: IntArray
    top_category_long: IntArray
    positive: BoolArray
    seen: BoolArray
    mask: NDArray[np.uint8]
    mask_device: BoolArray
    mask_item: BoolArray
    label: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.item_row)

    def rows_between(self, first_day: int, last_day: int) -> LongArray:
        """Rows of positives whose day lies in [first_day, last_day]."""
        return np.flatnonzero(self.positive & (self.day >= first_day) & (self.day <= last_day))

    def history(self, rows: LongArray, length: int, history_days: int) -> History:
        """The last `length` interactions strictly before each row, [B, length], newest first."""
        position = rows[:, None] - 1 - np.arange(length)
        valid = position >= self.offsets[self.subject[rows]][:, None]
        safe = np.where(valid, position, 0)
        items = np.where(valid, self.item_row[safe], PAD_ROW)
        return history_features(items, self.timestamp[safe], self.timestamp[rows], history_days)

    def query_features(
        self,
        rows: LongArray,
        transforms: FittedTransforms,
        *,
        length: int,
        history_days: int,
        masked: bool,
        bundle_version: str = "",
    ) -> QueryFeatures:
        """Features as of just before each row.

        Args:
            rows: event rows [B].
            transforms: the fitted transforms.
            length: history length N, 0 for none.
            history_days: age limit of the history.
            masked: whether to apply the training masks.
            bundle_version: stamped on the message.
        """
        mask = self.mask[rows] if masked else np.zeros(len(rows), dtype=np.uint8)
        subject = self.subject[rows]
        anonymous = mask >= MASK_ALL
        profile_hidden = mask >= MASK_USER
        device_hidden = self.mask_device[rows] & masked

        def hide(codes: AnyArray, hidden: BoolArray) -> IntArray:
            return np.where(hidden, 0, codes).astype(np.int32)

        categorical, continuous = query_arrays(
            transforms,
            user_codes=hide(self.user_code[subject], mask >= MASK_USER_ID),
            gender_codes=hide(self.gender_code[subject], profile_hidden),
            ages=np.where(anonymous, np.nan, self.age[subject]),
            top_category=hide(self.top_category[rows], profile_hidden),
            top_category_long=hide(self.top_category_long[rows], profile_hidden),
            device_codes=hide(self.device_code[rows], device_hidden),
            context_time=self.timestamp[rows],
        )
        history = self.history(rows, length, history_days)
        if anonymous.any():
            shown = ~anonymous[:, None]
            history = History(
                np.where(shown, history.rows, PAD_ROW).astype(np.int32),
                np.where(shown, history.age_s, 0).astype(np.float32),
                history.same_session & shown,
            )
        return QueryFeatures(bundle_version, self.timestamp[rows].astype(np.int64), categorical, continuous, history)
