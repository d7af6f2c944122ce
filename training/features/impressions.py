"""Logged impressions with rows of subjects and items."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts import columns as c
from contracts import records as r
from contracts.errors import DataError
from contracts.ids import AnyArray, BoolArray
from training.features.encode import ITEM_ROW
from training.features.partition import SUBJECT as SUBJECT
from training.features.processed import Processed
from training.recorded_context import with_context
from training.records import erased_users
from training.subjects import subjects_of
from training.tables import ColumnMap, find_table, first_illegal, illegal_ids, read_files

logger = logging.getLogger(__name__)

_COLUMNS: Final = (
    c.REQUEST_ID,
    SUBJECT,
    ITEM_ROW,
    c.TIMESTAMP,
    c.DAY,
    c.POSITION,
    c.CLICKED,
    c.DEVICE_TYPE,
    c.PROPENSITY,
)


def read_impressions(
    processed: Processed,
    raw_dir: Path,
    columns: ColumnMap | None = None,
    records_dir: Path | None = None,
    extra: Sequence[c.Column] = (),
) -> pa.Table:
    """Reads the impressions of the processed run's days whose clicks are known.

    Args:
        processed: the processed run.
        raw_dir: folder of the raw tables.
        columns: names of the shop's columns by our names.
        records_dir: folder of the shop's records, which name the erased users; None = no user was erased.
        extra: further columns of the impressions.

    Returns:
        request_id, subject (row of `processed.events()`, -1 = a subject without events), item_row, timestamp, day,
        position, clicked (bool), device_type, propensity (float, null where not logged) and the extra columns. Rows of
        unknown items, with illegal ids, of erased users and outside the days of the run are left out.

    Raises:
        DataError: there is no impressions table, or no impression with known clicks is left.
        SchemaError: a column is missing or of a wrong type.
        ValueError: an extra column has the name of another one.
    """
    schema = c.IMPRESSIONS.with_columns(extra, taken=(*r.IMPRESSIONS.names, SUBJECT, ITEM_ROW, c.DAY))
    raw = find_table(raw_dir, schema.with_columns([c.Column(r.CONTEXT, c.Kind.STRING, free_text=True)]), columns)
    table = read_files(raw)
    if r.CONTEXT in raw.source_names:
        table = with_context(table, extra)
    day = processed.transforms.calendar.day(table[c.TIMESTAMP].to_numpy()).astype(np.int32)
    item_row = _rows(table[c.ITEM_ID], processed.items[c.ITEM_ID])
    inside = (day >= processed.info.first_day) & (day <= processed.info.last_day)
    kept = inside & (item_row >= 0) & table[c.CLICKED].is_valid().to_numpy()
    kept &= _rows(table[c.USER_ID], erased_users(records_dir)) < 0
    kept &= ~_illegal(table, schema)
    if not kept.any():
        raise DataError(
            f"{len(table)} impressions in {raw_dir / c.IMPRESSIONS.name}, none of them of a known item, of a user who "
            "was not erased, within the days of the processed run and with `clicked` filled; log and compact some, or "
            "train on interactions"
        )
    found = {SUBJECT: _subjects(processed, table), ITEM_ROW: item_row, c.DAY: day}
    names = (*_COLUMNS, *(column.name for column in extra))
    rows = {name: found[name] if name in found else table[name] for name in names}
    return pa.table(rows).filter(pa.array(kept))


def _illegal(table: pa.Table, schema: c.TableSchema) -> BoolArray:
    """Whether rows have an illegal id; logs how many, since they are left out."""
    illegal = np.zeros(len(table), dtype=bool)
    for name in (column.name for column in schema.columns if column.holds_ids):
        found = illegal_ids(table[name])
        if found.any():
            example = first_illegal(table[name][int(np.argmax(found))].as_py())
            logger.warning("%d impressions kept out: illegal %s, for example %.60r", found.sum(), name, example)
        illegal |= found
    return illegal


def _subjects(processed: Processed, table: pa.Table) -> AnyArray:
    return _rows(subjects_of(table), processed.subjects())


def _rows(values: pa.ChunkedArray, known: pa.Array | pa.ChunkedArray) -> AnyArray:
    rows: AnyArray = pc.fill_null(pc.index_in(values, value_set=known, skip_nulls=True), -1).to_numpy()
    return rows
