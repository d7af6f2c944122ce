"""Processed events of whole subjects, and the query features at the time of an event.

Subjects are users, or sessions without a user. Events are sorted by (subject, timestamp, event_id). Histories are
sliced when a batch is built; they are never stored as [rows, N].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts import columns as c
from contracts.encoded import EncodedColumns, joined
from contracts.feature import Feature, FeatureKind, Mask, Side
from contracts.features import History, history_features
from contracts.ids import PAD_ROW, BoolArray, FloatArray, IntArray, LongArray
from contracts.messages import QueryFeatures
from contracts.schema import FeatureSchema, SideLayout
from contracts.transforms import FittedTransforms
from training.features.masking import MASK_ALL, MASK_USER, MASK_USER_ID


@dataclass(frozen=True)
class EventTable:
    """Events of S whole subjects, E rows.

    Attributes:
        subject_ids: raw user or session ids, [S] object.
        offsets: [S + 1] int64; the events of subject s are rows offsets[s] … offsets[s + 1] - 1, in order of time.
        profile: model inputs of each subject, of the schema's columns of users, [S].
        subject: [E] int32, row of the subject.
        item_row: [E] int32 ItemRow.
        timestamp: [E] int64.
        day: [E] int32, shop-local days since 1970-01-01.
        context: model inputs just before each event [E]: the schema's context, and derived features.
        profile_names, context_names: names of their columns.
        positive: [E] whether the event is a positive.
        seen: [E] whether the event marks the item as seen.
        mask: [E] uint8, one of the `MASK_…` levels; drawn once, so that all models mask the same rows.
        mask_device: [E] bool.
        mask_item: [E] bool: the positive's item id is out of vocabulary in training.
        label: [E] float32, or None when the tables have no labels.
    """

    subject_ids: NDArray[np.object_]
    offsets: LongArray
    profile: EncodedColumns
    profile_names: SideLayout
    subject: IntArray
    item_row: IntArray
    timestamp: LongArray
    day: IntArray
    context: EncodedColumns
    context_names: SideLayout
    positive: BoolArray
    seen: BoolArray
    mask: NDArray[np.uint8]
    mask_device: BoolArray
    mask_item: BoolArray
    label: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.item_row)

    def context_codes(self, feature: str) -> IntArray:
        """Encoded ids [E] of a feature of the context, or one that was derived, by name."""
        return self.context.codes[:, self.context_names.codes.index(feature)]

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
        schema, times = transforms.schema, self.timestamp[rows].astype(np.int64)
        cyclic = time_of(schema)
        parts = [
            (self.profile_names, self.profile.take(self.subject[rows])),
            (self.context_names, self.context.take(rows)),
            (SideLayout.of(cyclic), transforms.columns(cyclic, {c.TIMESTAMP: times}, len(rows))),
        ]
        columns = joined(parts, schema.layout(Side.QUERY))
        anonymous = self.mask[rows] >= MASK_ALL
        if masked:
            columns = self._masked(columns, rows, transforms)
        history = self.history(rows, length, history_days)
        if masked and anonymous.any():
            shown = ~anonymous[:, None]
            history = History(
                np.where(shown, history.rows, PAD_ROW).astype(np.int32),
                np.where(shown, history.age_s, 0).astype(np.float32),
                history.same_session & shown,
            )
        return QueryFeatures(bundle_version, times, columns, history)

    def _masked(self, columns: EncodedColumns, rows: LongArray, transforms: FittedTransforms) -> EncodedColumns:
        """Query columns of rows under the training masks: hidden values become unknown ones."""
        level = self.mask[rows]
        hidden: dict[Mask, BoolArray] = {
            "user_id": level >= MASK_USER_ID,
            "profile": level >= MASK_USER,
            "visitor": level >= MASK_ALL,
            "device": self.mask_device[rows],
        }
        features = transforms.schema.of(Side.QUERY)
        for name, where in hidden.items():
            columns = transforms.without(columns, [one for one in features if one.hidden_with == name], where)
        return columns


def profile_of(schema: FeatureSchema) -> tuple[Feature, ...]:
    """Query features of the subject, the same for all its events."""
    return tuple(one for one in schema.of(Side.QUERY) if one.origin == "users")


def context_of(schema: FeatureSchema) -> tuple[Feature, ...]:
    """Query features that are stored with each event."""
    others = (*profile_of(schema), *time_of(schema))
    return tuple(one for one in schema.of(Side.QUERY) if one not in others)


def time_of(schema: FeatureSchema) -> tuple[Feature, ...]:
    """Query features that follow from the time of an event."""
    of_query = schema.of(Side.QUERY)
    return tuple(one for one in of_query if one.origin == "derived" and one.kind is FeatureKind.CYCLIC)
