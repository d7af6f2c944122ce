"""What serving records for training: folders and columns. Serving writes them, jobs compact and read them.

records_dir/<shop>/
  interactions/day=YYYY-MM-DD/   accepted events, by the shop-local day on which they happened
  user_activity/day=YYYY-MM-DD/  every value of `top_category` that the consumer wrote, by the day on which it did
  snapshots/day=YYYY-MM-DD/      what was online of all users after a run of materialize
  impressions/day=YYYY-MM-DD/    what was shown
  tombstones/                    erased users
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from contracts import columns as c
from contracts.columns import UNIX_SECONDS, Column, Kind, TableSchema

ACCEPTED_MS: Final = "accepted_ms"
"""When the store took the event, Unix milliseconds of the store's clock; the same clock as `SERVED_MS`."""
LATE_S: Final = "late_s"
"""Seconds that an event was accepted after it had happened, on the clock of the server that took it."""
SERVED_MS: Final = "served_ms"
"""Since when a value is served, Unix milliseconds of the store's clock."""
EVENT_TIMESTAMP: Final = "event_timestamp"
"""Unix seconds of the last event that a value knows."""
ERASED_AT: Final = "erased_at"
"""Unix seconds; rows of the user up to then are gone."""

CONTEXT: Final = "context"
"""Values of the shop's context by column as a JSON object, as they were sent: any later schema reads them."""

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
        Column(EVENT_TIMESTAMP, Kind.INT, required=True, nullable=False, legal=UNIX_SECONDS),
        Column(SERVED_MS, Kind.INT, required=True, nullable=False),
    ),
    partitioned=True,
)
SNAPSHOTS: Final = TableSchema(
    "snapshots",
    (
        Column(c.USER_ID, Kind.STRING, required=True, nullable=False),
        Column(c.TOP_CATEGORY, Kind.STRING, required=True),
        Column(c.TOP_CATEGORY_LONG, Kind.STRING, required=True),
        Column(SERVED_MS, Kind.INT, required=True, nullable=False),  # the same in all rows of a snapshot
    ),
    partitioned=True,
)
"""A user who is not in a snapshot had no value then."""
IMPRESSIONS: Final = TableSchema(
    c.IMPRESSIONS.name,
    (
        *c.IMPRESSIONS.columns,
        Column(EPSILON, Kind.FLOAT),  # these three once a request, at its first position, where it explored
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
