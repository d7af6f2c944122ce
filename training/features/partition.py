"""One partition: whole subjects, sorted by time, with point-in-time features and masks, written as Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts import columns as c
from contracts.clock import ShopCalendar
from contracts.feature import Feature
from contracts.ids import AnyArray, BoolArray, IntArray, LongArray
from training.features.config import PreprocessConfig
from training.features.encode import HAPPENED_MS, ITEM_ROW, PARTITION, REJECTED, USER_ROW, VALUE, VERDICT, VERDICTS
from training.features.fit import CONTEXT, context_values
from training.features.hashing import event_id_column, hash_strings
from training.features.masking import draw_masks
from training.features.point_in_time import top_categories
from training.features.repeats import NUM_EXAMPLES, count_repeats, find_repeats
from training.records import ServedValues
from training.subjects import name_subjects

EVENTS_DIR: Final = "events"
SUBJECTS_DIR: Final = "subjects"
NUM_EVENTS: Final = "num_events"
_OF_CONTEXT: Final = "train_context"
SUBJECT: Final = "subject"

STATISTICS: Final = pa.schema(
    [
        ("num_events", pa.int64()),
        ("num_subjects", pa.int64()),
        ("num_positives", pa.int64()),
        ("num_train_positives", pa.int64()),
        ("num_seen", pa.int64()),
        ("num_before_launch", pa.int64()),
        ("num_duplicate_events", pa.int64()),
        ("num_recorded_events", pa.int64()),
        ("num_reused_event_ids", pa.int64()),
        ("events_of_day", pa.list_(pa.int64())),
        ("positives_of_day", pa.list_(pa.int64())),
        ("train_user_rows", pa.list_(pa.int32())),
        ("train_user_events", pa.list_(pa.int64())),
        ("known_item_rows", pa.list_(pa.int32())),
        (_OF_CONTEXT, pa.list_(CONTEXT)),
        ("verdicts", pa.list_(pa.int64())),
        ("examples", pa.list_(pa.string())),
        ("early_item_rows", pa.list_(pa.int32())),
        ("early_times", pa.list_(pa.int64())),
        ("item_rows", pa.list_(pa.int32())),
        ("first_events", pa.list_(pa.int64())),
    ]
)
"""Statistics of a partition: counts, and values that the transforms are fitted on."""


@dataclass(frozen=True)
class PartitionSpec:
    """Input of every task that finishes a partition; kept once in the object store.

    Attributes:
        config: the preprocessing config.
        out_dir: the run's folder.
        users: canonical users by user row [U].
        item_category: encoded category_l1 by ItemRow [I].
        item_hash: 64-bit hashes of the raw item ids [I].
        item_launch: Unix seconds of each item's launch [I].
        first_day: first day of the window.
        train_end_day: last training day.
        validation_end_day: last validation day.
        last_day: last day of the window.
        served: values that serving wrote; None = nothing was recorded.
        extra: further columns of the interactions.
        context: one feature per column of the context.
    """

    config: PreprocessConfig
    out_dir: Path
    users: pa.Table
    item_category: IntArray
    item_hash: AnyArray
    item_launch: LongArray
    first_day: int
    train_end_day: int
    validation_end_day: int
    last_day: int
    served: ServedValues | None = None
    extra: tuple[c.Column, ...] = ()
    context: tuple[Feature, ...] = ()


def finish_partition(rows: pa.Table, spec: PartitionSpec) -> pa.Table:
    """Writes one partition of encoded rows; the same partition again writes the same files.

    Args:
        rows: all rows of one partition, in the schema of `encode`.
        spec: the run.

    Returns:
        One row of the schema `STATISTICS`.
    """
    partition = rows[PARTITION][0].as_py()
    if partition == REJECTED:
        return _statistics(**_rejected(rows))
    subjects, owner = _subjects(rows, spec)
    rows = rows.set_column(rows.schema.get_field_index(c.EVENT_ID), c.EVENT_ID, _event_ids(rows, subjects, owner, spec))
    rows = rows.append_column(SUBJECT, pa.array(owner))
    order = (SUBJECT, c.TIMESTAMP, c.EVENT_ID, HAPPENED_MS)  # the recorded row of an event comes first
    rows = rows.sort_by([(name, "ascending") for name in order])
    day = ShopCalendar(spec.config.timezone).day(rows[c.TIMESTAMP].to_numpy())
    owner = rows[SUBJECT].to_numpy()
    repeats = find_repeats(rows, owner, day)
    counts = count_repeats(rows, repeats, owner, _names_of(subjects))
    rows = rows.filter(pa.array(repeats.kept))
    num_events = np.bincount(rows[SUBJECT].to_numpy(), minlength=len(subjects))
    subjects = subjects.append_column(NUM_EVENTS, pa.array(num_events))
    events = _features(rows, np.concatenate([[0], np.cumsum(num_events)]), partition, spec)
    name = f"part-{partition:05d}.parquet"
    pq.write_table(subjects, spec.out_dir / SUBJECTS_DIR / name)
    pq.write_table(events, spec.out_dir / EVENTS_DIR / name)
    return _statistics(**counts, **_fitted_on(events, subjects, rows, spec))


def _subjects(rows: pa.Table, spec: PartitionSpec) -> tuple[pa.Table, IntArray]:
    """The partition's subjects, users first, and the subject of each row [E]."""
    user_row = rows[USER_ROW].to_numpy()
    is_user = user_row >= 0
    users, user_rank = np.unique(user_row[is_user], return_inverse=True)
    sessions, session_rank = _ranked(rows[c.SESSION_ID].filter(pa.array(~is_user)))
    owner = np.empty(len(rows), dtype=np.int32)
    owner[is_user] = user_rank
    owner[~is_user] = len(users) + session_rank
    profiles = spec.users.take(pa.array(users))
    nulls = len(sessions)
    columns = {
        c.SUBJECT_ID: pa.concat_arrays([profiles[c.USER_ID].combine_chunks(), sessions]),
        USER_ROW: np.concatenate([users, np.full(nulls, -1, dtype=np.int32)]),
    }
    for name in (name for name in profiles.column_names if name != c.USER_ID):
        values = profiles[name].combine_chunks()
        columns[name] = pa.concat_arrays([values, pa.nulls(nulls, values.type)])
    return pa.table(columns), owner


def _ranked(values: pa.ChunkedArray) -> tuple[pa.Array, IntArray]:
    """Distinct strings in order, and the place of each value among them; -1 = null."""
    encoded = values.combine_chunks().dictionary_encode()
    order = pc.sort_indices(encoded.dictionary)
    rank = np.append(np.argsort(order.to_numpy()), -1).astype(np.int32)
    return encoded.dictionary.take(order), rank[encoded.indices.fill_null(len(order)).to_numpy()]


def _event_ids(rows: pa.Table, subjects: pa.Table, owner: IntArray, spec: PartitionSpec) -> pa.Array:
    """Given event ids; a missing one is the hash of subject, item, timestamp, event and ordinal among equal rows."""
    given = rows[c.EVENT_ID].combine_chunks()
    missing = given.is_null().to_numpy(zero_copy_only=False)
    if not missing.any():
        return given
    item, timestamp = rows[ITEM_ROW].to_numpy()[missing], rows[c.TIMESTAMP].to_numpy()[missing]
    event, subject = rows[c.EVENT].to_numpy()[missing], owner[missing]
    device = _ranked(rows[c.DEVICE_TYPE])[1][missing]  # equal rows get their ordinals in a fixed order
    order = np.lexsort((device, event, item, timestamp, subject))
    keys = np.stack([subject, timestamp, item, event])[:, order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    ordinal = np.empty(len(order), dtype=np.int64)
    starts = np.flatnonzero(new)
    ordinal[order] = np.arange(len(order)) - starts[np.cumsum(new) - 1]
    hashes = hash_strings(_names_of(subjects).to_pylist())
    made = event_id_column([hashes[subject], spec.item_hash[item], timestamp, event, ordinal])
    return pc.replace_with_mask(given, pa.array(missing), made)


def _names_of(subjects: pa.Table) -> pa.Array:
    return name_subjects(subjects[c.SUBJECT_ID], subjects[USER_ROW].to_numpy() >= 0)


def _features(rows: pa.Table, offsets: LongArray, partition: int, spec: PartitionSpec) -> pa.Table:
    config = spec.config
    item_row, timestamp = rows[ITEM_ROW].to_numpy(), rows[c.TIMESTAMP].to_numpy()
    day = ShopCalendar(config.timezone).day(timestamp).astype(np.int32)
    top, top_long = top_categories(spec.item_category[item_row], timestamp, day, offsets)
    activity = _as_served({c.TOP_CATEGORY: top, c.TOP_CATEGORY_LONG: top_long}, rows, spec.served)
    event = rows[c.EVENT].to_numpy()
    positive = _is_one_of(event, config.positive_events)
    early = _before_launch(rows, spec)
    mask, mask_device, mask_item = draw_masks(len(rows), config, np.random.default_rng([config.seed, partition]))
    columns = {
        ITEM_ROW: item_row,
        c.TIMESTAMP: timestamp,
        c.DAY: day,
        c.DEVICE_TYPE: rows[c.DEVICE_TYPE].combine_chunks().dictionary_encode(),
        **activity,
        "positive": positive & ~early,
        "seen": _is_one_of(event, config.seen_events),
        "mask": mask,
        "mask_device": mask_device,
        "mask_item": mask_item,
        c.LABEL: pc.if_else(pa.array(early), pa.scalar(None, pa.float32()), rows[c.LABEL]),
        c.EVENT_ID: rows[c.EVENT_ID],
    }
    return pa.table(columns | {column.name: _carried(rows[column.name], column) for column in spec.extra})


def _carried(values: pa.ChunkedArray, column: c.Column) -> pa.ChunkedArray | pa.Array:
    return values.combine_chunks().dictionary_encode() if column.kind is c.Kind.CATEGORY else values


def _before_launch(rows: pa.Table, spec: PartitionSpec) -> BoolArray:
    """Whether each event [E] came before its item's launch; False if the launch is moved instead."""
    if spec.config.before_launch == "move_launch":
        return np.zeros(len(rows), dtype=bool)
    early: BoolArray = rows[c.TIMESTAMP].to_numpy() < spec.item_launch[rows[ITEM_ROW].to_numpy()]
    return early


def _as_served(computed: Mapping[str, IntArray], rows: pa.Table, served: ServedValues | None) -> dict[str, IntArray]:
    """Derived features [E] by name: the value that serving had written before the event, otherwise the computed one.

    Sessions have none, as online, where only users have features.
    """
    is_user = rows[USER_ROW].to_numpy() >= 0
    known = {name: np.where(is_user, codes, 0).astype(np.int32) for name, codes in computed.items()}
    accepted = rows[HAPPENED_MS].is_valid().to_numpy() & is_user
    if served is None or not accepted.any():
        return known
    found = served.as_of(rows[USER_ROW].to_numpy()[accepted], rows[HAPPENED_MS].filter(pa.array(accepted)).to_numpy())
    return {name: _replaced(codes, accepted, found[name]) for name, codes in known.items()}


def _replaced(codes: IntArray, where: BoolArray, found: IntArray) -> IntArray:
    """Codes [E], replaced where a value was found; -1 = none was found."""
    joined = codes.copy()
    joined[where] = np.where(found >= 0, found, codes[where])
    return joined


def _is_one_of(event: AnyArray, names: tuple[str, ...]) -> AnyArray:
    return np.isin(event, [c.EVENTS.index(name) for name in names])


def _fitted_on(events: pa.Table, subjects: pa.Table, rows: pa.Table, spec: PartitionSpec) -> dict[str, object]:
    day, positive = events[c.DAY].to_numpy(), events["positive"].to_numpy()
    train, num_days = positive & (day <= spec.train_end_day), spec.last_day - spec.first_day + 1
    user_row = rows[USER_ROW].to_numpy()
    users, user_events = np.unique(user_row[train & (user_row >= 0)], return_counts=True)
    trained = rows.select([one.column_name for one in spec.context]).filter(pa.array(train)).combine_chunks()
    item_row, timestamp = rows[ITEM_ROW].to_numpy(), rows[c.TIMESTAMP].to_numpy()
    early = np.flatnonzero(_before_launch(rows, spec))
    items, place = np.unique(item_row, return_inverse=True)
    first = np.full(len(items), np.iinfo(np.int64).max)
    np.minimum.at(first, place, timestamp)
    return {
        "num_events": len(events),
        "num_subjects": len(subjects),
        "num_positives": int(positive.sum()),
        "num_train_positives": int(train.sum()),
        "num_seen": int(events["seen"].to_numpy().sum()),
        "events_of_day": np.bincount(day - spec.first_day, minlength=num_days),
        "positives_of_day": np.bincount(day[positive] - spec.first_day, minlength=num_days),
        "train_user_rows": users,
        "train_user_events": user_events,
        "num_before_launch": len(early),
        "early_item_rows": item_row[early[:NUM_EXAMPLES]],
        "early_times": timestamp[early[:NUM_EXAMPLES]],
        "item_rows": items,
        "first_events": first,
        "known_item_rows": np.unique(events[ITEM_ROW].to_numpy()[positive & (day <= spec.validation_end_day)]),
        _OF_CONTEXT: _one_list(context_values(spec.context, trained)),
    }


def _rejected(rows: pa.Table) -> dict[str, object]:
    verdict = rows[VERDICT].to_numpy()
    examples = []
    for number in np.unique(verdict):
        values = pc.unique(rows[VALUE].filter(pa.array(verdict == number))).drop_null().to_pylist()
        examples += [f"{VERDICTS[number]}: {value}" for value in sorted(values)[:NUM_EXAMPLES]]
    return {"verdicts": np.bincount(verdict, minlength=len(VERDICTS)), "examples": examples}


def _statistics(**values: object) -> pa.Table:
    """One row of `STATISTICS`; missing values are 0 or empty."""
    empty: dict[str, object] = {field.name: [] if pa.types.is_list(field.type) else 0 for field in STATISTICS}
    columns = {name: [value] for name, value in (empty | values).items() if name != _OF_CONTEXT}
    context = values.get(_OF_CONTEXT, _one_list(pa.array([], CONTEXT)))
    return pa.table({**columns, _OF_CONTEXT: context}, schema=STATISTICS)


def _one_list(values: pa.StructArray) -> pa.ListArray:
    return pa.ListArray.from_arrays([0, len(values)], values)
