"""Feature views as plain data, history features and item age.

Training and serving call the same functions, so that offline and online features are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from contracts import columns as c
from contracts.clock import DAY_S
from contracts.feature import FeatureKind
from contracts.ids import PAD_ROW, BoolArray, FloatArray, IntArray, LongArray
from contracts.schema import FeatureSchema

HALF_LIFE_DAYS: Final = 3.0
"""Days after which an interaction counts half for popularity."""
SESSION_GAP_S: Final = 1_800
"""Seconds without an interaction that end a session."""
TOP_CATEGORY_WINDOW_S: Final = DAY_S
TOP_CATEGORY_EVENTS: Final = 200
"""Most events that `top_category` reads, the newest ones; bounds the online list of a subject (decision 11)."""
ITEM_AGE_EDGES_DAYS: Final = (1, 2, 3, 4, 6, 8, 11, 15, 31)
"""Upper bounds of the item age buckets in whole days; the last bucket is open and includes unknown launch times."""
NUM_ITEM_AGE_BUCKETS: Final = len(ITEM_AGE_EDGES_DAYS) + 1


@dataclass(frozen=True)
class Field:
    """One field of a feature view; `dtype` is `float`, `string`, `strings`, or `floats` of a length."""

    name: str
    dtype: str
    length: int = 0


@dataclass(frozen=True)
class FeatureViewSpec:
    """A feature view, independent of Feast: entity key, fields, and the maximum age of a joined row."""

    name: str
    entity_key: str
    fields: tuple[Field, ...]
    ttl_days: int
    description: str


_DTYPES: Final[Mapping[FeatureKind, str]] = {
    FeatureKind.CATEGORICAL: "string",
    FeatureKind.CATEGORIES: "strings",
    FeatureKind.NUMERIC: "float",
    FeatureKind.CYCLIC: "float",
    FeatureKind.VECTOR: "floats",
}


def user_profile(schema: FeatureSchema) -> FeatureViewSpec:
    """The view of user profiles: the raw columns of `users` that the schema reads."""
    columns = [one for one in schema.read_from("users") if one.column_name != c.USER_ID]
    fields = tuple(Field(one.column_name, _DTYPES[one.kind], one.length or 0) for one in columns)
    return FeatureViewSpec("user_profile", c.USER_ID, fields, 3650, "what users told the shop")


USER_ACTIVITY: Final = FeatureViewSpec(
    "user_activity",
    c.USER_ID,
    (Field(c.TOP_CATEGORY, "string"), Field(c.TOP_CATEGORY_LONG, "string")),
    3650,
    "what users did: most frequent category of the 24 hours before the last event, and of all earlier days",
)


def feature_views(schema: FeatureSchema) -> tuple[FeatureViewSpec, FeatureViewSpec]:
    """All views of a shop."""
    return user_profile(schema), USER_ACTIVITY


@dataclass(frozen=True)
class History:
    """The last N interactions before a time, newest first.

    Attributes:
        rows: ItemRow [B, N] int32, -1 pads at the end.
        age_s: seconds between the interaction and now, [B, N] float32, 0 where padded.
        same_session: whether it belongs to the session that is still active, [B, N].
    """

    rows: IntArray
    age_s: FloatArray
    same_session: BoolArray

    def __post_init__(self) -> None:
        shapes = [self.rows.shape, self.age_s.shape, self.same_session.shape]
        if self.rows.ndim != 2 or len(set(shapes)) != 1:
            raise ValueError(f"history arrays must all be [B, N], got {shapes}")

    def take(self, queries: LongArray) -> History:
        """The histories at these indices."""
        return History(self.rows[queries], self.age_s[queries], self.same_session[queries])


def history_features(rows: IntArray, timestamps: LongArray, now: LongArray, history_days: int) -> History:
    """History features from interactions in order of time.

    Args:
        rows: ItemRow [B, N], newest first, -1 pads at the end.
        timestamps: Unix seconds [B, N]; ignored where padded.
        now: Unix seconds [B], not before any of the timestamps.
        history_days: interactions older than this many days are left out.

    Returns:
        The interactions within `history_days`, newest first, padded at the end.
    """
    age = now[:, None] - timestamps
    kept = (rows != PAD_ROW) & (age <= history_days * DAY_S)
    age = np.where(kept, np.maximum(age, 0), 0)
    gaps = np.diff(age, axis=1, prepend=0)
    same_session = np.logical_and.accumulate(kept & (gaps < SESSION_GAP_S), axis=1)
    return History(np.where(kept, rows, PAD_ROW).astype(np.int32), age.astype(np.float32), same_session)


def item_age_days(launched_at: LongArray, now: LongArray) -> LongArray:
    """Whole days since launch, broadcast over both arguments; 0 for items that are not launched yet."""
    age_s: LongArray = np.maximum(np.asarray(now) - launched_at, 0)
    return age_s // DAY_S


def item_age_bucket(launched_at: LongArray, now: LongArray) -> IntArray:
    """Age bucket 0 … `NUM_ITEM_AGE_BUCKETS` - 1, broadcast over launch times and nows (Unix seconds).

    A launch time of 0 means that the item was always there; it gets the last bucket.
    """
    return np.digitize(item_age_days(launched_at, now), ITEM_AGE_EDGES_DAYS).astype(np.int32)


def top_category(categories: IntArray, timestamps: LongArray) -> int:
    """The most frequent category of the 24 hours that end at the last event; ties go to the newest.

    Only the newest `TOP_CATEGORY_EVENTS` events count.

    Args:
        categories: codes [n] in order of time; 0 = the item has no category and does not count.
        timestamps: Unix seconds [n], ascending; the window ends at the last of them and is (last - 24 h, last].

    Returns:
        A code, or 0 when no event in the window has a category.
    """
    if len(categories) == 0:
        return 0
    categories, timestamps = categories[-TOP_CATEGORY_EVENTS:], timestamps[-TOP_CATEGORY_EVENTS:]
    inside = (timestamps > timestamps[-1] - TOP_CATEGORY_WINDOW_S) & (categories > 0)
    return most_frequent(categories[inside])


def most_frequent(categories: IntArray) -> int:
    """The most frequent code; ties go to the one that occurred last; 0 for none."""
    if len(categories) == 0:
        return 0
    counts = np.bincount(categories)
    best = counts == counts.max()
    return int(categories[np.flatnonzero(best[categories])[-1]])
