"""Logged impressions as rows of subjects and items."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts import columns as c
from contracts.errors import DataError
from contracts.ids import AnyArray, BoolArray
from training.features.encode import ITEM_ROW
from training.features.processed import Processed
from training.records import erased_users
from training.subjects import subjects_of
from training.tables import ColumnMap, find_table, illegal_ids, read_files

logger = logging.getLogger(__name__)

SUBJECT: str = "subject"


def read_impressions(
    processed: Processed, raw_dir: Path, columns: ColumnMap | None = None, records_dir: Path | None = None
) -> pa.Table:
    """Reads the impressions of the processed run's days whose clicks are known.

    Args:
        processed: the processed run.
        raw_dir: folder of the raw tables.
        columns: names of the shop's columns by our names.
        records_dir: folder of what serving recorded of this shop, which tells who was erased; None = nobody was.

    Returns:
        request_id, subject (row of `processed.events()`, -1 = a subject without events), item_row, timestamp, day,
        position, clicked (bool), device_type and propensity (float, null where not logged). Rows of unknown items,
        with illegal ids, of erased users and outside the days of the run are left out.

    Raises:
        DataError: there is no impressions table, or no impression with known clicks is left.
        SchemaError: a column is missing or of a wrong type.
    """
    raw = find_table(raw_dir, c.IMPRESSIONS, columns)
    table = read_files(raw)
    day = processed.transforms.calendar.day(table[c.TIMESTAMP].to_numpy()).astype(np.int32)
    item_row = _rows(table[c.ITEM_ID], processed.items[c.ITEM_ID])
    inside = (day >= processed.info.first_day) & (day <= processed.info.last_day)
    kept = inside & (item_row >= 0) & table[c.CLICKED].is_valid().to_numpy()
    kept &= _rows(table[c.USER_ID], erased_users(records_dir)) < 0
    kept &= ~_illegal(table)
    if not kept.any():
        raise DataError(
            f"{len(table)} impressions in {raw_dir / c.IMPRESSIONS.name}, none of them of a known item, of a user who "
            "was not erased, within the days of the processed run and with `clicked` filled; log and compact some, or "
            "train on interactions"
        )
    rows = {
        c.REQUEST_ID: table[c.REQUEST_ID],
        SUBJECT: _subjects(processed, table),
        ITEM_ROW: item_row,
        c.TIMESTAMP: table[c.TIMESTAMP],
        c.DAY: day,
        c.POSITION: table[c.POSITION],
        c.CLICKED: table[c.CLICKED],
        c.DEVICE_TYPE: table[c.DEVICE_TYPE],
        c.PROPENSITY: table[c.PROPENSITY],
    }
    return pa.table(rows).filter(pa.array(kept))


def _illegal(table: pa.Table) -> BoolArray:
    """Whether rows have an illegal id; they are kept out, and that is told."""
    illegal = np.zeros(len(table), dtype=bool)
    for name in (column.name for column in c.IMPRESSIONS.columns if column.holds_ids):
        found = illegal_ids(table[name])
        if found.any():
            example = table[name][int(np.argmax(found))].as_py()
            logger.warning("%d impressions kept out: illegal %s, for example %.60r", found.sum(), name, example)
        illegal |= found
    return illegal


def _subjects(processed: Processed, table: pa.Table) -> AnyArray:
    return _rows(subjects_of(table), processed.subjects())


def _rows(values: pa.ChunkedArray, known: pa.Array | pa.ChunkedArray) -> AnyArray:
    rows: AnyArray = pc.fill_null(pc.index_in(values, value_set=known, skip_nulls=True), -1).to_numpy()
    return rows
