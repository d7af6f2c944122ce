"""Preprocessing: raw tables in, the processed run out, by Ray Data.

Interactions are read and encoded in parallel, shuffled once by hash of the subject, and each partition is finished and
written by one task. The layout of the result is described in `training.features.processed`.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
import ray.data
from ray.data.context import ShuffleStrategy

from contracts import columns as c
from contracts.clock import ShopCalendar, day_to_name
from contracts.errors import DataError
from contracts.files import atomic_dir
from contracts.vocabulary import Vocabulary
from training.features.config import PreprocessConfig
from training.features.encode import PARTITION, VERDICTS, EncodeSpec, encode
from training.features.fit import fit_category, fit_transforms
from training.features.hashing import hash_strings, partitions_of
from training.features.partition import EVENTS_DIR, SUBJECTS_DIR, PartitionSpec, finish_partition
from training.features.processed import INFO, ITEMS, REPORT, TRANSFORMS, USERS, ProcessedInfo
from training.splits import make_split
from training.tables import RawTable, find_table, read_files

logger = logging.getLogger(__name__)

_LAYOUT: Final = 1
_ROWS_PER_BLOCK: Final = 500_000
_CHUNK: Final = 1 << 20
_COUNTS: Final = ("events", "subjects", "positives", "train_positives", "seen")


def preprocess(config: PreprocessConfig, raw_dir: Path, out_dir: Path, *, shop: str) -> ProcessedInfo:
    """Writes the processed run of a folder of raw tables; an earlier one is replaced.

    Ray must be initialised; every node must see both folders.

    Args:
        config: the preprocessing config.
        raw_dir: folder of the raw tables.
        out_dir: the run's folder.
        shop: the shop's name.

    Raises:
        DataError: a table is missing or unreadable, an id occurs twice, or nothing is left to train on.
        SchemaError: a column is missing, misnamed or of a wrong type.
        ConfigError: the tables do not cover the days of the split.
    """
    raw = RawTables(config, raw_dir)
    with atomic_dir(out_dir) as folder:
        statistics = _run(config, raw, folder)
        info, report = _summarise(config, raw, statistics, shop)
        transforms = fit_transforms(statistics, raw.users, raw.items, config.timezone)
        pq.write_table(raw.users, folder / USERS)
        pq.write_table(raw.items, folder / ITEMS)
        (folder / TRANSFORMS).write_text(transforms.to_json(), encoding="utf-8")
        (folder / REPORT).write_text(json.dumps(report, indent=1), encoding="utf-8")
        (folder / INFO).write_text(info.model_dump_json(indent=1), encoding="utf-8")
    if report["empty_days"]:
        logger.warning("days without interactions: %s", ", ".join(report["empty_days"]))
    for reason, count in info.kept_out.items():
        logger.warning("%d interactions kept out: %s; examples in %s", count, reason, REPORT)
    logger.info("processed %d events of %d subjects", info.counts["events"], info.counts["subjects"])
    return info


class RawTables:
    """The checked raw tables of a run: users and items in memory, interactions as files of the split's days."""

    def __init__(self, config: PreprocessConfig, raw_dir: Path) -> None:
        def find(schema: c.TableSchema) -> RawTable:
            return find_table(raw_dir, schema, config.columns.get(schema.name))

        interactions = find(c.INTERACTIONS)
        self.raw_dir = raw_dir
        self.split = make_split(config.split, list(interactions.days))
        days = range(self.split.first_day, self.split.last_day + 1)
        files = tuple(path for day in days for path in interactions.days.get(day, ()))
        self.num_rows = sum(pq.read_metadata(path).num_rows for path in files)
        if self.num_rows == 0:
            raise DataError(f"no interactions between {day_to_name(days[0])} and {day_to_name(days[-1])} in {raw_dir}")
        self.interactions = RawTable(c.INTERACTIONS, files, interactions.source_names)
        items = find(c.ITEMS)
        self.items = read_files(items)
        if len(self.items) == 0:
            raise DataError(f"the items table in {raw_dir} has no rows; expected the shop's catalogue")
        users = find(c.USERS) if (raw_dir / c.USERS.name).is_dir() else None
        self.users = _users_of(self.interactions) if users is None else read_files(users)
        no_users = tuple(f"{c.USERS.name}.{name}" for name in (c.AGE, c.GENDER))
        self.missing = (no_users if users is None else users.missing) + items.missing + interactions.missing
        self.files = (*files, *items.files, *(() if users is None else users.files))


def _users_of(interactions: RawTable) -> pa.Table:
    """The users that occur, for shops without a users table."""
    source = interactions.source_names.get(c.USER_ID)
    ids: pa.Array = pa.array([], pa.string())
    for path in interactions.files if source is not None else ():
        column = pq.ParquetFile(path).read(columns=[source])
        if source in column.column_names:
            ids = pc.unique(pa.concat_arrays([ids, pc.unique(column[source].cast(pa.string()))]))
    ids = ids.drop_null().sort()
    return pa.table(
        {c.USER_ID: ids, c.AGE: pa.nulls(len(ids), pa.float64()), c.GENDER: pa.nulls(len(ids), pa.string())}
    )


def _run(config: PreprocessConfig, raw: RawTables, folder: Path) -> pa.Table:
    """Reads, encodes, shuffles and writes all partitions; returns their statistics."""
    for name in (EVENTS_DIR, SUBJECTS_DIR):
        (folder / name).mkdir()
    encode_ref = ray.put(encode_spec(config, raw))
    finish_ref = ray.put(partition_spec(config, raw, folder))
    files = raw.interactions.files
    with _sort_shuffle():
        rows = ray.data.read_parquet(
            [str(path) for path in files],
            schema=raw.interactions.source_schema,
            partitioning=None,
            override_num_blocks=min(len(files), -(-raw.num_rows // _ROWS_PER_BLOCK)),
        )
        encoded = rows.map_batches(_encoder(encode_ref), batch_size=None, batch_format="pyarrow")
        finished = encoded.groupby(PARTITION).map_groups(_finisher(finish_ref), batch_format="pyarrow")
        try:
            return pa.concat_tables(ray.get(finished.to_arrow_refs()))
        except ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, OSError):
                raise
            where = next((note for note in getattr(error.cause, "__notes__", ()) if ".parquet" in note), raw.raw_dir)
            raise DataError(f"interactions cannot be read: {error.cause}; {where}") from error


def _encoder(spec: Any) -> Callable[[Any], Any]:
    def encode_rows(batch: pa.Table) -> pa.Table:
        return encode(batch, ray.get(spec))

    return encode_rows


def _finisher(spec: Any) -> Callable[[Any], Any]:
    def finish_subjects(rows: pa.Table) -> pa.Table:
        return finish_partition(rows, ray.get(spec))

    return finish_subjects


@contextmanager
def _sort_shuffle() -> Iterator[None]:
    """Shuffles by sorting: with few partitions on one machine several times faster than Ray's default."""
    context = ray.data.DataContext.get_current()
    before = context.shuffle_strategy
    context.shuffle_strategy = ShuffleStrategy.SORT_SHUFFLE_PULL_BASED
    try:
        yield
    finally:
        context.shuffle_strategy = before


def encode_spec(config: PreprocessConfig, raw: RawTables) -> EncodeSpec:
    """What the tasks that encode these tables need."""
    calendar = ShopCalendar(config.timezone)
    user_ids = raw.users[c.USER_ID].combine_chunks()
    return EncodeSpec(
        raw=raw.interactions,
        user_ids=user_ids,
        item_ids=raw.items[c.ITEM_ID].combine_chunks(),
        user_partition=partitions_of(user_ids.to_pylist(), config.num_partitions),
        num_partitions=config.num_partitions,
        start=calendar.start_of_day(raw.split.first_day),
        end=calendar.start_of_day(raw.split.last_day + 1),
    )


def partition_spec(config: PreprocessConfig, raw: RawTables, folder: Path) -> PartitionSpec:
    """What the tasks that finish partitions of these tables need."""
    categories: Vocabulary = fit_category(raw.items)
    return PartitionSpec(
        config=config,
        out_dir=folder.resolve(),
        users=raw.users,
        item_category=categories.encode(raw.items[c.CATEGORY_L1].to_pylist()),
        item_hash=hash_strings(raw.items[c.ITEM_ID].to_pylist()),
        first_day=raw.split.first_day,
        train_end_day=raw.split.train_end_day,
        last_day=raw.split.last_day,
    )


def _summarise(
    config: PreprocessConfig, raw: RawTables, statistics: pa.Table, shop: str
) -> tuple[ProcessedInfo, dict[str, Any]]:
    """The run's info and its report of what was kept out."""
    lengths = raw.split.last_day - raw.split.first_day + 1
    per_day = _sum_lists(statistics["events_of_day"], lengths)
    verdicts = _sum_lists(statistics["verdicts"], len(VERDICTS))
    kept_out = dict(zip(VERDICTS, verdicts.tolist(), strict=True))
    kept_out["duplicate_event"] = int(statistics["num_duplicates"].to_numpy().sum())
    kept_out = {reason: count for reason, count in kept_out.items() if count}
    counts = {name: int(statistics[f"num_{name}"].to_numpy().sum()) for name in _COUNTS}
    counts |= {"users": len(raw.users), "items": len(raw.items)}
    examples = [example for part in statistics["examples"].to_pylist() for example in part]
    if counts["train_positives"] == 0:
        raise DataError(
            f"empty training window: no positive between {day_to_name(raw.split.first_day)} and "
            f"{day_to_name(raw.split.train_end_day)}; kept out: {kept_out or 'nothing'}, for example {examples[:5]}"
        )
    empty = [day_to_name(raw.split.first_day + int(number)) for number in np.flatnonzero(per_day == 0)]
    info = ProcessedInfo(
        fingerprint=_fingerprint(config, raw, shop),
        shop=shop,
        raw_dir=str(raw.raw_dir),
        timezone=config.timezone,
        **asdict(raw.split),
        counts=counts,
        kept_out=kept_out,
        missing=raw.missing,
        has_labels=c.LABEL in raw.interactions.source_names,
    )
    return info, {"kept_out": kept_out, "examples": examples, "empty_days": empty}


def _sum_lists(lists: pa.ChunkedArray, length: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    rows = [row for row in lists.to_pylist() if row]
    return np.sum(rows, axis=0, dtype=np.int64) if rows else np.zeros(length, dtype=np.int64)


def _fingerprint(config: PreprocessConfig, raw: RawTables, shop: str) -> str:
    digest = hashlib.sha256(f"{_LAYOUT}\n{shop}\n{config.model_dump_json()}\n".encode())
    for path in raw.files:
        digest.update(str(path.relative_to(raw.raw_dir)).encode())
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
