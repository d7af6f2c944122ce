"""Preprocessing with Ray Data: from raw tables to the processed run.

Interactions are read and encoded in parallel, shuffled once by hash of the subject, and each partition is finished and
written by one task. The layout of the result is described in `training.features.processed`.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
import ray.data

from contracts import columns as c
from contracts.clock import Clock, ShopCalendar, day_to_name
from contracts.declared import declared_columns
from contracts.errors import DataError
from contracts.files import atomic_dir
from contracts.ids import LongArray
from contracts.presets import SHOP
from contracts.schema import FeatureSchema
from contracts.transforms import FittedTransforms
from contracts.vocabulary import Vocabulary
from training.features.config import PreprocessConfig
from training.features.encode import PARTITION, VERDICTS, EncodeSpec, encode
from training.features.fit import fit_category, fit_transforms
from training.features.hashing import hash_strings, partitions_of
from training.features.kept_out import (
    PreprocessReport,
    check_positives,
    check_repeats,
    day_warnings,
    gather_examples,
    kept_out_warnings,
    summary_of_kept_out,
    vocabulary_warnings,
)
from training.features.launches import early_events, launch_times, launch_warnings, moved_to_first_event
from training.features.partition import EVENTS_DIR, SUBJECTS_DIR, PartitionSpec, finish_partition
from training.features.processed import INFO, ITEMS, REPORT, USERS, ProcessedInfo
from training.features.raw_tables import RawTables
from training.features.ray_data import data_error_of, sort_shuffle
from training.features.repeats import DUPLICATE, REPEATS
from training.records import ServedValues
from training.tables import Piece, RawTable, pieces, read_piece

logger = logging.getLogger(__name__)

_LAYOUT: Final = 2
_CHUNK: Final = 1 << 20
_COUNTS: Final = ("events", "subjects", "positives", "train_positives", "seen")


def preprocess(
    config: PreprocessConfig,
    raw_dir: Path,
    out_dir: Path,
    *,
    shop: str,
    records_dir: Path | None = None,
    records_end: int | None = None,
    clock: Clock | None = None,
    schema: FeatureSchema = SHOP,
) -> ProcessedInfo:
    """Writes the processed run of a folder of raw tables; an earlier one is replaced.

    Ray must be initialised; every node must see both folders.

    Args:
        config: the preprocessing config.
        raw_dir: folder of the raw tables.
        out_dir: the run's folder.
        shop: the shop's name.
        records_dir: folder of the shop's records, which name the erased users; None = no user was erased.
        records_end: shop-local day before which recorded interactions and served top categories are read too; None =
            only the shop's own tables. It must not be after today: materialize relies on a complete last day.
        clock: decides which days are over; None = the machine's.
        schema: the features; the columns that it reads are in the run, in canonical form.

    Raises:
        DataError: a table is missing or unreadable, an id occurs twice, a day is not possible, or too few events are
            left.
        SchemaError: a column is missing, misnamed or of a wrong type.
        ConfigError: the tables do not cover the days of the split.
        ValueError: a column of the schema has the name of another one.
    """
    raw = RawTables(config, raw_dir, records_dir, records_end, clock, declared_columns(schema))
    with atomic_dir(out_dir) as folder:
        statistics = _run(config, raw, folder, schema)
        _check_all_arrived(raw, statistics)
        if config.before_launch == "move_launch":
            raw.items = moved_to_first_event(raw.items, statistics)
        info, report = _summarise(config, raw, statistics, shop, schema)
        transforms, left_out = fit_transforms(schema, statistics, raw.users, raw.items, config.timezone)
        report["out_of_vocabulary"] = left_out
        report["warnings"] += vocabulary_warnings(left_out)
        _write_entities(raw, transforms, folder)
        (folder / REPORT).write_text(json.dumps(report, indent=1), encoding="utf-8")
        (folder / INFO).write_text(info.model_dump_json(indent=1), encoding="utf-8")
    for warning in report["warnings"]:
        logger.warning("%s", warning)
    logger.info("processed %d events of %d subjects", info.counts["events"], info.counts["subjects"])
    return info


def _run(config: PreprocessConfig, raw: RawTables, folder: Path, schema: FeatureSchema) -> pa.Table:
    """Reads, encodes, shuffles and writes all partitions; returns their statistics."""
    for name in (EVENTS_DIR, SUBJECTS_DIR):
        (folder / name).mkdir()
    finish_ref = ray.put(partition_spec(config, raw, folder, schema))
    with sort_shuffle():
        first, *others = [_encoded(source, encode_spec(config, raw)) for source in raw.sources]
        encoded = first.union(*others) if others else first
        finished = encoded.groupby(PARTITION).map_groups(_finisher(finish_ref), batch_format="pyarrow")
        try:
            return pa.concat_tables(ray.get(finished.to_arrow_refs()))
        except ray.exceptions.RayTaskError as error:
            if (cause := data_error_of(error)) is None:
                raise
            raise cause from error


def _encoded(source: RawTable, spec: EncodeSpec) -> ray.data.Dataset:
    """Encoded rows, read in pieces; Ray's own reader would make a batch of every small file."""
    cut = pieces(source)
    numbers = ray.data.range(len(cut), override_num_blocks=len(cut))
    return numbers.map_batches(_encoder(ray.put((source, cut, spec))), batch_size=None, batch_format="pyarrow")


def _encoder(work: ray.ObjectRef[tuple[RawTable, list[Piece], EncodeSpec]]) -> Callable[[pa.Table], Iterator[pa.Table]]:
    def encode_piece(numbers: pa.Table) -> Iterator[pa.Table]:
        source, cut, spec = ray.get(work)
        for number in numbers["id"].to_pylist():
            for rows in read_piece(source, cut[number]):
                yield encode(rows, spec)

    return encode_piece


def _finisher(spec: ray.ObjectRef[PartitionSpec]) -> Callable[[pa.Table], pa.Table]:
    def finish_subjects(rows: pa.Table) -> pa.Table:
        return finish_partition(rows, ray.get(spec))

    return finish_subjects


def encode_spec(config: PreprocessConfig, raw: RawTables) -> EncodeSpec:
    """The input of the tasks that encode interactions."""
    calendar = ShopCalendar(config.timezone)
    user_ids = raw.users[c.USER_ID].combine_chunks()
    return EncodeSpec(
        user_ids=user_ids,
        item_ids=raw.items[c.ITEM_ID].combine_chunks(),
        user_partition=partitions_of(user_ids.to_pylist(), config.num_partitions),
        num_partitions=config.num_partitions,
        start=calendar.start_of_day(raw.split.first_day),
        end=_end(config, raw),
        erased=raw.erased,
        extra=raw.extra.get(c.INTERACTIONS.name, ()),
    )


def partition_spec(
    config: PreprocessConfig, raw: RawTables, folder: Path, schema: FeatureSchema = SHOP
) -> PartitionSpec:
    """The input of the tasks that finish partitions."""
    categories: Vocabulary = fit_category(raw.items)
    return PartitionSpec(
        config=config,
        out_dir=folder.resolve(),
        users=raw.users,
        item_category=categories.encode(raw.items[c.CATEGORY_L1].to_pylist()),
        item_hash=hash_strings(raw.items[c.ITEM_ID].to_pylist()),
        item_launch=launch_times(raw.items),
        first_day=raw.split.first_day,
        train_end_day=raw.split.train_end_day,
        validation_end_day=raw.split.validation_end_day,
        last_day=raw.split.last_day,
        served=ServedValues.read(raw.served_dir, raw.users[c.USER_ID].to_pylist(), categories),
        extra=raw.extra.get(c.INTERACTIONS.name, ()),
        context=schema.read_from("context"),
    )


def _check_all_arrived(raw: RawTables, statistics: pa.Table) -> None:
    kept_out = sum(count for counts in statistics["verdicts"].to_pylist() for count in counts)
    counted = ["num_events", *(f"num_{reason}s" for reason in REPEATS)]
    arrived = kept_out + sum(int(pc.sum(statistics[name]).as_py()) for name in counted)
    if arrived != raw.num_rows:
        raise DataError(
            f"{arrived} interactions arrived, the footers of the files in {raw.raw_dir} promise {raw.num_rows}; "
            "run the job again while nobody writes to the folder"
        )


def _summarise(
    config: PreprocessConfig, raw: RawTables, statistics: pa.Table, shop: str, schema: FeatureSchema
) -> tuple[ProcessedInfo, PreprocessReport]:
    """The run's info and its report."""
    lengths = raw.split.last_day - raw.split.first_day + 1
    per_day = _sum_lists(statistics["events_of_day"], lengths)
    verdicts = _sum_lists(statistics["verdicts"], len(VERDICTS))
    kept_out = dict(zip(VERDICTS, verdicts.tolist(), strict=True))
    kept_out |= {name: int(statistics[f"num_{name}s"].to_numpy().sum()) for name in REPEATS}
    kept_out = {reason: count for reason, count in kept_out.items() if count}
    counts = {name: int(statistics[f"num_{name}"].to_numpy().sum()) for name in _COUNTS}
    doubts = list(launch_warnings(raw.items, statistics, _end(config, raw)))
    counts |= {"users": len(raw.users), "items": len(raw.items)}
    reused = int(statistics["num_reused_event_ids"].to_numpy().sum())
    of_reason = gather_examples(statistics["examples"])
    examples = [example for some in of_reason.values() for example in some]
    check_repeats(counts["events"], kept_out.get(DUPLICATE, 0), config.max_duplicate_share, of_reason[DUPLICATE])
    positives = _sum_lists(statistics["positives_of_day"], lengths)
    lacking = "; ".join([summary_of_kept_out(kept_out, examples), *doubts])
    examples += early_events(raw.items, statistics)
    check_positives(raw.split, positives, counts["train_positives"], lacking)
    empty = [day_to_name(raw.split.first_day + int(number)) for number in np.flatnonzero(per_day == 0)]
    info = ProcessedInfo(
        fingerprint=_fingerprint(config, raw, shop, schema),
        shop=shop,
        raw_dir=str(raw.raw_dir),
        timezone=config.timezone,
        **asdict(raw.split),
        counts=counts,
        kept_out=kept_out,
        missing=raw.missing,
        has_labels=raw.has_labels,
        seen_events=config.seen_events,
    )
    warnings = [
        *day_warnings(raw.split, positives, empty, REPORT),
        *doubts,
        *kept_out_warnings(kept_out, reused, of_reason, REPORT),
    ]
    report: PreprocessReport = {
        "kept_out": kept_out,
        "reused_event_ids": reused,
        "examples": examples,
        "empty_days": empty,
        "warnings": warnings,
        "out_of_vocabulary": {},
    }
    return info, report


def _write_entities(raw: RawTables, transforms: FittedTransforms, folder: Path) -> None:
    pq.write_table(raw.users, folder / USERS)
    pq.write_table(raw.items, folder / ITEMS)
    transforms.save(folder)


def _end(config: PreprocessConfig, raw: RawTables) -> int:
    """First second after the window."""
    return ShopCalendar(config.timezone).start_of_day(raw.split.last_day + 1)


def _sum_lists(lists: pa.ChunkedArray, length: int) -> LongArray:
    rows = [row for row in lists.to_pylist() if row]
    return np.sum(rows, axis=0, dtype=np.int64) if rows else np.zeros(length, dtype=np.int64)


def _fingerprint(config: PreprocessConfig, raw: RawTables, shop: str, schema: FeatureSchema) -> str:
    digest = hashlib.sha256(f"{_LAYOUT}\n{shop}\n{config.model_dump_json()}\n{schema.digest}\n".encode())
    for path in raw.files:
        inside = next(folder for folder in (raw.raw_dir, raw.records_dir) if folder and path.is_relative_to(folder))
        digest.update(str(path.relative_to(inside)).encode())
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    digest.update("\n".join(raw.erased.to_pylist()).encode())
    return digest.hexdigest()
