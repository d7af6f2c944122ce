"""The checked raw tables of a run of preprocessing: those of the shop and those of the records."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from contracts import columns as c
from contracts import records as r
from contracts.clock import Clock, SystemClock, day_to_name
from contracts.errors import DataError, SchemaError
from contracts.features import USER_ACTIVITY
from recommender_api.requests import Filters
from training.features.config import PreprocessConfig
from training.features.days import complete_days
from training.features.encode import USER_ROW, encoded_schema
from training.features.partition import NUM_EVENTS, SUBJECT
from training.features.processed import EVENT_COLUMNS
from training.records import erased_users, find_records
from training.splits import make_split
from training.tables import RawTable, arrow_type, find_table, illegal_ids, is_given, pieces, read_files, read_piece

logger = logging.getLogger(__name__)


class RawTables:
    """Users and items in memory, interactions as files of the split's days.

    Args:
        config: the preprocessing config.
        raw_dir: folder of the shop's tables.
        records_dir: folder of the shop's records, which name the erased users; None = there is none.
        records_end: shop-local day before which recorded interactions are read too; None = none are.
        clock: decides which days are possible; None = the machine's.
        extra: further columns by table; None = there are none.

    Raises:
        DataError, SchemaError, ConfigError, ValueError: as `preprocess`.
    """

    def __init__(
        self,
        config: PreprocessConfig,
        raw_dir: Path,
        records_dir: Path | None = None,
        records_end: int | None = None,
        clock: Clock | None = None,
        extra: c.ExtraColumns | None = None,
    ) -> None:
        given = extra or {}
        names = (c.USERS.name, c.ITEMS.name, c.INTERACTIONS.name)
        self.extra = {name: tuple(given[name]) for name in names if given.get(name)}

        def extended(schema: c.TableSchema) -> c.TableSchema:
            return schema.with_columns(self.extra.get(schema.name, ()), taken_names(schema.name))

        def find(schema: c.TableSchema) -> RawTable:
            return find_table(raw_dir, extended(schema), config.columns.get(schema.name))

        self.raw_dir, self.records_dir = raw_dir, records_dir
        self.served_dir = None if records_end is None else records_dir
        interactions = complete_days(find(c.INTERACTIONS), config, clock or SystemClock())
        found = [interactions]
        if records_end is not None and (recorded := find_records(records_dir, extended(r.INTERACTIONS))) is not None:
            found.append(recorded.of_days(_joined_days(recorded, min(interactions.days), records_end)))
        self.split = make_split(config.split, [day for source in found for day in source.days])
        days = range(self.split.first_day, self.split.last_day + 1)
        self.sources = tuple(of_days for source in found if (of_days := source.of_days(days)).files)
        self.num_rows = sum(source.num_rows for source in self.sources)
        if self.num_rows == 0:
            raise DataError(f"no interactions between {day_to_name(days[0])} and {day_to_name(days[-1])} in {raw_dir}")
        items = find(c.ITEMS)
        self.items = read_files(items)
        if len(self.items) == 0:
            raise DataError(f"the items table in {raw_dir} has no rows; expected the shop's catalogue")
        users = find(c.USERS) if is_given(raw_dir, c.USERS) else None
        if users is None and (declared := self.extra.get(c.USERS.name)):
            raise SchemaError(
                f"no folder {raw_dir / c.USERS.name}, but the config declares columns of {c.USERS.name}: "
                f"{', '.join(column.name for column in declared)}; add the table, or take them out of features.columns"
            )
        self.erased = erased_users(records_dir)
        self.users = _users(users, self.sources, self.erased)
        no_users = tuple(f"{c.USERS.name}.{name}" for name in (c.AGE, c.GENDER))
        self.missing = (no_users if users is None else users.missing) + items.missing + interactions.missing
        self.has_labels = c.LABEL in interactions.source_names
        self.files = tuple(
            path for table in (*self.sources, items, *([] if users is None else [users])) for path in table.files
        )


def taken_names(table: str) -> set[str]:
    """Names of ours that declared columns of a table cannot have: columns that are derived, and fields of filters."""
    if table == c.INTERACTIONS.name:
        return {*r.INTERACTIONS.names, *encoded_schema().names, *EVENT_COLUMNS, SUBJECT}
    if table == c.USERS.name:
        activity = {field.name for field in USER_ACTIVITY.fields}
        return {c.SUBJECT_ID, USER_ROW, NUM_EVENTS, c.EVENT_TIMESTAMP, *activity}
    return {*Filters.__struct_fields__} - {*c.ITEMS.names} if table == c.ITEMS.name else set()


def _joined_days(recorded: RawTable, first_day: int, end: int) -> list[int]:
    """Days of recorded interactions from the shop's first day on: an event posted late must not move the window."""
    early = [day for day in recorded.days if day < first_day]
    if early:
        logger.info(
            "recorded interactions of %d days from %s on are left out: the shop's tables begin on %s",
            len(early),
            day_to_name(min(early)),
            day_to_name(first_day),
        )
    return sorted(day for day in recorded.days if first_day <= day < end)


def _users(table: RawTable | None, sources: Sequence[RawTable], erased: pa.Array) -> pa.Table:
    """The users table without erased users, plus users of the records, or of all interactions without a table."""
    met = _users_of([source for source in sources if table is None or r.ACCEPTED_MS in source.schema.names])
    known = None if table is None else read_files(table)
    if known is not None:
        met = met.filter(pc.invert(pc.is_in(met, value_set=known[c.USER_ID].combine_chunks())))
    schema = c.USERS if table is None else table.schema
    unknown = {column.name: pa.nulls(len(met), arrow_type(column)) for column in schema.columns}
    users = pa.table(unknown | {c.USER_ID: met})
    if known is not None:
        users = pa.concat_tables([known, users]).combine_chunks() if len(met) else known
    return users.filter(pc.invert(pc.is_in(users[c.USER_ID], value_set=erased))) if len(erased) else users


def _users_of(sources: Sequence[RawTable]) -> pa.Array:
    """The users of interactions, sorted, without illegal ids: their rows are kept out and counted."""
    ids = [pa.array([], pa.string())]
    for table in sources:
        narrow = table.of_columns([c.USER_ID])
        for piece in pieces(narrow) if narrow.source_names else ():
            ids += [pc.unique(rows[c.USER_ID]) for rows in read_piece(narrow, piece)]
    met = pc.unique(pa.concat_arrays(ids)).drop_null().sort()
    return met.filter(pa.array(~illegal_ids(pa.chunked_array([met]))))
