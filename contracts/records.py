"""Records of serving for training: folders and columns. Serving writes them, jobs compact and read them.

records_dir/<shop>/
  interactions/day=YYYY-MM-DD/   accepted events, by shop-local day of the event
  user_activity/day=YYYY-MM-DD/  all values of `top_category` that the consumer wrote, by day of writing
  snapshots/day=YYYY-MM-DD/      online values of all users after a run of materialize
  impressions/day=YYYY-MM-DD/    items that were shown
  tombstones/                    erased users
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from contracts import columns as c
from contracts import features
from contracts.columns import UNIX_SECONDS, Column, Kind, TableSchema

ACCEPTED_MS: Final = "accepted_ms"
"""When the store accepted the event, Unix milliseconds of the store's clock, as `SERVED_MS`."""
LATE_S: Final = "late_s"
"""Seconds from the event to its acceptance, by the clock of the server that accepted it."""
SERVED_MS: Final = "served_ms"
"""When a value was first served, Unix milliseconds of the store's clock."""
ERASED_AT: Final = "erased_at"
"""Unix seconds; earlier rows of the user are removed."""

CONTEXT: Final = "context"
"""Values of the shop's context by column, a JSON object as it was sent, so that later schemas can read it."""

EPSILON: Final = "epsilon"
TEMPERATURE: Final = "temperature"
NUM_RANKED: Final = "num_ranked"

INTERACTIONS: Final = TableSchema(
    "interactions",
    (
        *(column for column in c.INTERACTIONS.columns if column.name != c.LABEL),
        Column(ACCEPTED_MS, Kind.INT, required=True, nullable=False),
        Column(LATE_S, Kind.INT),
        Column(CONTEXT, Kind.STRING, free_text=True),
    ),
    partitioned=True,
    at_least_one_of=c.INTERACTIONS.at_least_one_of,
)
USER_ACTIVITY: Final = TableSchema(
    "user_activity",
    (
        Column(c.USER_ID, Kind.STRING, required=True, nullable=False),
        Column(c.TOP_CATEGORY, Kind.STRING, required=True),
        Column(c.EVENT_TIMESTAMP, Kind.INT, required=True, nullable=False, legal=UNIX_SECONDS),
        Column(SERVED_MS, Kind.INT, required=True, nullable=False),
    ),
    partitioned=True,
)
SNAPSHOTS: Final = TableSchema(
    "snapshots",
    (
        Column(c.USER_ID, Kind.STRING, required=True, nullable=False),
        *(Column(field.name, Kind.STRING, required=True) for field in features.USER_ACTIVITY.fields),
        Column(SERVED_MS, Kind.INT, required=True, nullable=False),  # the same in all rows of a snapshot
    ),
    partitioned=True,
)
"""A user who is not in a snapshot had no value at that time."""
IMPRESSIONS: Final = TableSchema(
    c.IMPRESSIONS.name,
    (
        *c.IMPRESSIONS.columns,
        Column(EPSILON, Kind.FLOAT),  # these three only at the first position of an exploring request
        Column(TEMPERATURE, Kind.FLOAT),
        Column(NUM_RANKED, Kind.INT),
        Column(CONTEXT, Kind.STRING, free_text=True),
    ),
    partitioned=True,
)
TOMBSTONES: Final = TableSchema(
    "tombstones",
    (
        Column(c.USER_ID, Kind.STRING, required=True, nullable=False),
        Column(ERASED_AT, Kind.INT, required=True, nullable=False, legal=UNIX_SECONDS),
    ),
)


def shop_records(records_dir: Path, shop: str) -> Path:
    """Folder of a shop's records."""
    return records_dir / shop
