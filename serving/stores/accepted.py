"""Accepted events: those that are still in the stream and those that consumers have recorded.

Tables may lack an accepted event, because they were exported before it or never get it. So filling the store adds
accepted events to the rows of the tables; an event that both have counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import redis

from contracts import columns as c
from contracts.clock import ShopCalendar
from contracts.errors import DataError
from contracts.ids import user_subject
from contracts.interactions import STREAM_FIELD, Interaction, decode
from contracts.records import ACCEPTED_MS
from serving.stores.keys import Keys

_ENTRIES: Final = 10_000
_ROWS: Final = 1_000_000  # of subjects that no table has, at a time
ACCEPTED: Final = pa.schema(
    [
        (c.SUBJECT_ID, pa.string()),
        (c.ITEM_ID, pa.string()),
        (c.TIMESTAMP, pa.int64()),
        (c.EVENT, pa.string()),
        (c.EVENT_ID, pa.string()),
        (ACCEPTED_MS, pa.int64()),
    ]
)
"""An accepted event: its subject is named as in `contracts.ids`."""
_CATALOGUE: Final = pa.schema([(c.ITEM_ID, pa.string()), (c.CATEGORY_L1, pa.string())])


@dataclass(frozen=True)
class AcceptedSource:
    """Sources of accepted events besides the stream, and how to read them.

    Attributes:
        recorded: by consumers, in the schema `ACCEPTED`; may repeat.
        items: raw ids and category_l1 of the catalogue.
        seen_events: kinds of events that mark their item as seen.
        calendar: of the shop.
    """

    recorded: pa.Table = field(default_factory=ACCEPTED.empty_table)
    items: pa.Table = field(default_factory=_CATALOGUE.empty_table)
    seen_events: tuple[str, ...] = c.EVENTS
    calendar: ShopCalendar = field(default_factory=lambda: ShopCalendar("UTC"))


class AcceptedEvents:
    """All accepted events as of now, in the order of their acceptance.

    Args:
        client: of the store.
        shop: whose stream.
        source: the other events.
        erased: users whose events are left out.
    """

    def __init__(self, client: redis.Redis, shop: str, source: AcceptedSource, erased: Set[str]) -> None:
        streamed = _streamed(client, Keys(shop).interactions)  # first: a consumer may record some of it meanwhile
        rows = pa.concat_tables([source.recorded.select(ACCEPTED.names).cast(ACCEPTED), streamed])
        gone = pa.array([user_subject(user) for user in erased], pa.string())
        rows = _first_of_each(rows.filter(pc.invert(pc.is_in(rows[c.SUBJECT_ID], gone))).sort_by(ACCEPTED_MS))
        row = pc.index_in(rows[c.ITEM_ID], source.items[c.ITEM_ID].combine_chunks())
        rows = rows.append_column(c.CATEGORY_L1, source.items[c.CATEGORY_L1].combine_chunks().take(row))
        self._rows = rows.append_column(c.DAY, pa.array(source.calendar.day(rows[c.TIMESTAMP].to_numpy())))
        self._seen = self._rows.filter(pc.is_in(rows[c.EVENT], pa.array(source.seen_events, pa.string())))

    @property
    def subjects(self) -> Set[str]:
        """Subjects with accepted events."""
        return set(self._rows[c.SUBJECT_ID].unique().to_pylist())

    def with_recent(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Tables of whole subjects with the accepted events that they lack; then tables of other subjects."""
        return _joined(tables, self._rows)

    def with_seen(self, tables: Iterable[pa.Table], first_day: int) -> Iterator[pa.Table]:
        """As `with_recent`, for events that mark items as seen, from a shop-local day on."""
        return _joined(tables, self._seen.filter(pc.greater_equal(self._seen[c.DAY], first_day)))


def _streamed(client: redis.Redis, stream: str) -> pa.Table:
    """The events in the stream; the consumer handles entries that are none."""
    rows = []
    start = "-"
    while entries := client.xrange(stream, start, "+", _ENTRIES):
        start = "(" + entries[-1][0].decode()
        for id_, fields in entries:
            if (event := _event(fields.get(STREAM_FIELD))) is not None:
                accepted_ms = int(id_.split(b"-")[0])
                rows.append((event.subject, event.item_id, event.timestamp, event.event, event.event_id, accepted_ms))
    columns = zip(*rows, strict=True) if rows else [()] * len(ACCEPTED)
    return pa.table([list(column) for column in columns], schema=ACCEPTED)


def _event(content: bytes | None) -> Interaction | None:
    try:
        return None if content is None else decode(content)
    except DataError:
        return None


def _first_of_each(rows: pa.Table) -> pa.Table:
    """Keeps the first row of each event."""
    rows = rows.append_column("row", pa.array(np.arange(len(rows))))
    first = rows.group_by([c.SUBJECT_ID, c.EVENT_ID, c.ITEM_ID, c.EVENT, c.TIMESTAMP]).aggregate([("row", "min")])[
        "row_min"
    ]
    return rows.drop_columns("row").take(first.take(pc.sort_indices(first)))


def _joined(tables: Iterable[pa.Table], accepted: pa.Table) -> Iterator[pa.Table]:
    left = accepted
    for table in tables:
        is_here = pc.is_in(left[c.SUBJECT_ID], table[c.SUBJECT_ID].combine_chunks())
        here, left = left.filter(is_here), left.filter(pc.invert(is_here))
        yield pa.concat_tables([table, _lacking(table, here)]) if len(here) else table
    yield from _whole_subjects(left.sort_by([(c.SUBJECT_ID, "ascending"), (ACCEPTED_MS, "ascending")]))


def _whole_subjects(rows: pa.Table) -> Iterator[pa.Table]:
    """Cuts rows that are sorted by subject into tables of whole subjects."""
    subject = rows[c.SUBJECT_ID].combine_chunks().dictionary_encode().indices.to_numpy()
    starts = np.flatnonzero(np.diff(subject, prepend=-1))
    cuts = np.unique(np.searchsorted(starts, np.arange(0, len(rows), _ROWS), side="right") - 1)
    yield from (rows.slice(start, end - start) for start, end in pairwise([*starts[cuts].tolist(), len(rows)]))


def _lacking(table: pa.Table, accepted: pa.Table) -> pa.Table:
    """Accepted events that a table lacks: it has no row with their id, nor with their item and time."""
    known = table.filter(pc.is_in(table[c.SUBJECT_ID], accepted[c.SUBJECT_ID].combine_chunks()))
    for names in ([c.SUBJECT_ID, c.EVENT_ID, c.ITEM_ID], [c.SUBJECT_ID, c.ITEM_ID, c.TIMESTAMP]):
        if set(names) <= set(table.column_names):
            keys = known.select(names).cast(pa.schema([ACCEPTED.field(name) for name in names]))
            accepted = accepted.join(keys, names, join_type="left anti")
    return accepted.sort_by(ACCEPTED_MS).select(table.column_names).cast(table.schema)
