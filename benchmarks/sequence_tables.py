"""Public sequence data as a processed run, in which every event has a fixed place in its user's order.

The tables are written again before they are preprocessed: events get ids that keep the order of the file where times
are equal, launch times are left out because the protocol ranks all items, and two events of a session that is never
evaluated follow the last day, because preprocessing keeps two days for its own split.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

from contracts import columns as c
from contracts.clock import DAY_S, SimulatedClock, day_to_name
from contracts.errors import DataError
from contracts.ids import LongArray
from training.features.config import MaskConfig, PreprocessConfig
from training.features.preprocess import preprocess
from training.features.processed import Processed, open_processed
from training.tables import find_table, is_given, read_files

NUM_CLOSING: Final = 2
"""Events of the session after the last day."""
_CLOSING: Final = "after the last day"
_ORDER_BEGINS: Final = 10_957 * DAY_S
"""First second of the times that stand for places in the order, 2000-01-01."""
_INTERACTIONS: Final = (c.USER_ID, c.SESSION_ID, c.ITEM_ID, c.TIMESTAMP, c.DEVICE_TYPE, c.EVENT)
_NO_MASKS: Final = MaskConfig(user_rate=0, user_id_rate=0, device_rate=0, item_rate=0)
_CONFIG: Final = PreprocessConfig(earliest_day="1970-01-01", masks=_NO_MASKS)
_TITLES: Final = ("title", "movie_title")


def process(raw_dir: Path, folder: Path, *, order_only: bool) -> Processed:
    """Preprocesses the raw tables of a folder; Ray must be initialised.

    Args:
        raw_dir: interactions/day=…/, and if there items/ and users/.
        folder: an empty folder for the ordered tables and the processed run.
        order_only: whether times are replaced by the place of the event in its user's order, a second each.
    """
    end = write_ordered(raw_dir, folder / "raw", order_only=order_only)
    preprocess(_CONFIG, folder / "raw", folder / "processed", shop="benchmark", clock=SimulatedClock(end))
    return open_processed(folder / "processed")


def write_ordered(raw_dir: Path, folder: Path, *, order_only: bool) -> int:
    """Writes tables with a fixed order of each user's events; see `process`. Returns the second after their last day.

    Raises:
        DataError: a table is missing or unreadable, or there are no interactions.
        SchemaError: a column is missing or of a wrong type.
    """
    rows = read_files(find_table(raw_dir, c.INTERACTIONS)).select(_INTERACTIONS)
    if len(rows) == 0:
        raise DataError(f"the interactions in {raw_dir} have no rows; expected a user's events in every row")
    time = rows[c.TIMESTAMP].to_numpy()
    if order_only:
        subject = pc.coalesce(rows[c.USER_ID], rows[c.SESSION_ID]).combine_chunks().dictionary_encode()
        time = _ORDER_BEGINS + places_in_order(subject.indices.to_numpy(), time)
    last_day = int(time.max()) // DAY_S
    closing = {c.ITEM_ID: rows[c.ITEM_ID][:1].to_pylist() * NUM_CLOSING, c.SESSION_ID: [_CLOSING] * NUM_CLOSING}
    time = np.append(time, (last_day + 1 + np.arange(NUM_CLOSING)) * DAY_S)
    rows = pa.concat_tables([rows.drop_columns(c.TIMESTAMP), pa.table(closing)], promote_options="default")
    rows = rows.append_column(c.TIMESTAMP, pa.array(time))
    width = len(str(len(rows)))
    rows = rows.append_column(c.EVENT_ID, pa.array([f"{number:0{width}d}" for number in range(len(rows))]))
    _write_days(rows, folder)
    _write_entities(raw_dir, folder, rows[c.ITEM_ID])
    return (last_day + 2 + NUM_CLOSING) * DAY_S


def places_in_order(subject: LongArray, time: LongArray) -> LongArray:
    """Place of each event among its subject's in order of time, from 0; equal times keep the order of the rows."""
    order = np.lexsort((time, subject))
    starts = np.flatnonzero(np.diff(subject[order], prepend=-1))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return place


def _write_days(rows: pa.Table, folder: Path) -> None:
    days = rows[c.TIMESTAMP].to_numpy() // DAY_S
    order = np.argsort(days, kind="stable")
    found, starts = np.unique(days[order], return_index=True)
    for day, part in zip(found, np.split(order, starts[1:]), strict=True):
        _write(rows.take(pa.array(part)), folder / c.INTERACTIONS.name / f"{c.DAY}={day_to_name(day)}")


def _write_entities(raw_dir: Path, folder: Path, item_ids: pa.ChunkedArray) -> None:
    """Writes the catalogue without launch times, or the items of the interactions; and the users if there are any."""
    if is_given(raw_dir, c.ITEMS):
        items = read_files(find_table(raw_dir, c.ITEMS)).drop_columns([c.LAUNCHED_AT, c.IMAGE_PATH])
    else:
        items = pa.table({c.ITEM_ID: item_ids.unique().sort()})
    _write(items, folder / c.ITEMS.name)
    if is_given(raw_dir, c.USERS):
        _write(read_files(find_table(raw_dir, c.USERS)), folder / c.USERS.name)


def convert_recbole(source: Path, folder: Path) -> None:
    """Writes raw tables from RecBole's atomic files: .inter, and the ids and titles of .item if there is one.

    Args:
        source: a folder or a wheel that contains one .inter file.
        folder: of the raw tables.

    Raises:
        DataError: there is no .inter file or more than one, or a column is missing.
    """
    files = _atomic_files(source)
    interactions = _read_atomic(files[".inter"], {c.USER_ID: pa.string(), c.ITEM_ID: pa.string()}, source)
    if c.TIMESTAMP not in interactions.column_names:
        raise DataError(f"the .inter file in {source} has no column timestamp; the protocol needs each user's order")
    time = interactions[c.TIMESTAMP].cast(pa.float64()).cast(pa.int64(), safe=False)
    interactions = interactions.select([c.USER_ID, c.ITEM_ID]).append_column(c.TIMESTAMP, time)
    _write_days(interactions, folder)
    if ".item" in files:
        items = _read_atomic(files[".item"], {c.ITEM_ID: pa.string()}, source)
        titles = [name for name in _TITLES if name in items.column_names][:1]
        items = items.select([c.ITEM_ID, *titles]).rename_columns([c.ITEM_ID, *[c.TITLE for _ in titles]])
        _write(items, folder / c.ITEMS.name)


def _atomic_files(source: Path) -> dict[str, bytes]:
    """Contents of the .inter file, and of the .item file of the same name, by suffix."""
    if source.is_dir():
        found = {str(path): path.read_bytes() for path in sorted(source.rglob("*.in*ter")) if path.suffix == ".inter"}
        found |= {str(path): path.read_bytes() for path in sorted(source.rglob("*.item"))}
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as wheel:
            names = [name for name in wheel.namelist() if name.endswith((".inter", ".item"))]
            found = {name: wheel.read(name) for name in names}
    else:
        raise DataError(f"{source} is neither a folder nor a wheel; expected one that contains a .inter file")
    inter = [name for name in found if name.endswith(".inter")]
    if len(inter) != 1:
        raise DataError(f"{source} has {len(inter)} .inter files ({', '.join(inter)}), expected one; name its folder")
    item = inter[0].removesuffix(".inter") + ".item"
    return {".inter": found[inter[0]], **({".item": found[item]} if item in found else {})}


def _read_atomic(content: bytes, types: dict[str, pa.DataType], source: Path) -> pa.Table:
    """Rows of an atomic file with the names of its header before the colon."""
    header, _, _ = content.partition(b"\n")
    names = [entry.partition(":")[0] for entry in header.decode().rstrip("\r").split("\t")]
    if missing := types.keys() - set(names):
        raise DataError(f"a file in {source} has no column {', '.join(sorted(missing))}; its header has {names}")
    return csv.read_csv(
        pa.BufferReader(content),
        read_options=csv.ReadOptions(column_names=names, skip_rows=1),
        parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
        convert_options=csv.ConvertOptions(column_types=types, strings_can_be_null=False),
    )


def _write(table: pa.Table, folder: Path) -> None:
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "part-0.parquet")
