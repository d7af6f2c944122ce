"""Encodes raw interactions as compact rows of known users and items, each with its partition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts import columns as c
from contracts.ids import AnyArray, BoolArray, IntArray
from contracts.records import ACCEPTED_MS, CONTEXT, LATE_S
from recommender_api.values import id_fault
from training.features.hashing import partitions_of
from training.recorded_context import with_context
from training.subjects import are_users, subjects_of
from training.tables import arrow_type, first_illegal, illegal_ids

PARTITION: Final = "partition"
USER_ROW: Final = "user_row"
ITEM_ROW: Final = "item_row"
VERDICT: Final = "verdict"
VALUE: Final = "value"
HAPPENED_MS: Final = "happened_ms"
"""Time of a recorded event, on the clock of the records of served values."""

_SHOWN_CHARS: Final = 60
REJECTED: Final = -1
"""Partition of rejected rows; they are shuffled too, so that each is counted exactly once."""
VERDICTS: Final = (
    "kept",
    "no_subject",
    "erased_user",
    "illegal_id",
    "unknown_user",
    "unknown_item",
    "unknown_event",
    "no_timestamp",
    "outside_window",
)
"""Reasons why a row is rejected; the first that applies counts."""


def encoded_schema(extra: Sequence[c.Column] = ()) -> pa.Schema:
    """Columns of encoded rows.

    Args:
        extra: further columns of the interactions, which are kept as they are.
    """
    return pa.schema(
        [
            (PARTITION, pa.int32()),
            (VERDICT, pa.int8()),
            (VALUE, pa.string()),
            (USER_ROW, pa.int32()),
            (c.SESSION_ID, pa.string()),
            (ITEM_ROW, pa.int32()),
            (c.TIMESTAMP, pa.int64()),
            (c.DEVICE_TYPE, pa.string()),
            (c.EVENT, pa.int8()),
            (c.EVENT_ID, pa.string()),
            (c.LABEL, pa.float32()),
            (HAPPENED_MS, pa.int64()),
            *((column.name, arrow_type(column)) for column in extra),
        ]
    )


@dataclass(frozen=True)
class EncodeSpec:
    """Input of every encoding task; kept once in the object store.

    Attributes:
        user_ids: raw ids by user row [U].
        item_ids: raw ids by ItemRow [I].
        user_partition: [U].
        num_partitions: number of partitions.
        start: first second of the window.
        end: the second after the window.
        erased: raw ids of erased users, whose rows must not be used.
        extra: columns of the interactions beside the fixed ones.
    """

    user_ids: pa.Array
    item_ids: pa.Array
    user_partition: IntArray
    num_partitions: int
    start: int
    end: int
    erased: pa.Array
    extra: tuple[c.Column, ...] = ()


def encode(raw: pa.Table, spec: EncodeSpec) -> pa.Table:
    """Encodes canonical interactions of the shop or of the records; returns rows of `encoded_schema`.

    A row has either a user row or a session id: if both are given, the user is the subject.
    """
    schema, columns = encoded_schema(spec.extra), (*c.INTERACTIONS.columns, *spec.extra)
    for name, kind in ((c.LABEL, pa.float32()), (ACCEPTED_MS, pa.int64()), (LATE_S, pa.int64())):
        if name not in raw.column_names:  # serving never records labels, and always the other two
            raw = raw.append_column(name, pa.nulls(len(raw), kind))
    if CONTEXT in raw.column_names and spec.extra:
        raw = with_context(raw, spec.extra)
    subjects = subjects_of(raw)
    has_user = are_users(subjects)
    user_row = np.where(has_user, _index(raw[c.USER_ID], spec.user_ids), -1).astype(np.int32)
    item_row = _index(raw[c.ITEM_ID], spec.item_ids)
    event = _index(pc.fill_null(raw[c.EVENT], c.EVENTS[0]), pa.array(c.EVENTS))
    illegal = {column.name: illegal_ids(raw[column.name]) for column in columns if column.holds_ids}
    verdict = _verdicts(raw, subjects, user_row, item_row, event, np.any(list(illegal.values()), axis=0), spec)
    kept = verdict == 0

    session = pc.if_else(pa.array(has_user), pa.scalar(None, pa.string()), raw[c.SESSION_ID])
    partition = np.full(len(raw), REJECTED, dtype=np.int32)
    known = kept & has_user
    partition[known] = spec.user_partition[user_row[known]]
    partition[kept & ~has_user] = _session_partitions(session.filter(pa.array(kept & ~has_user)), spec.num_partitions)
    encoded = {
        PARTITION: partition,
        VERDICT: verdict,
        VALUE: _offending_values(raw, verdict, illegal),
        USER_ROW: user_row,
        c.SESSION_ID: session,
        ITEM_ROW: item_row,
        c.TIMESTAMP: raw[c.TIMESTAMP],
        c.DEVICE_TYPE: raw[c.DEVICE_TYPE],
        c.EVENT: event.astype(np.int8),
        c.EVENT_ID: raw[c.EVENT_ID],
        c.LABEL: raw[c.LABEL].cast(pa.float32()),
        HAPPENED_MS: pc.subtract(raw[ACCEPTED_MS], pc.multiply(pc.fill_null(raw[LATE_S], 0), 1_000)),
    }
    return pa.table(encoded | {column.name: raw[column.name] for column in spec.extra}, schema=schema)


def _verdicts(
    raw: pa.Table,
    subjects: pa.ChunkedArray,
    user_row: IntArray,
    item_row: IntArray,
    event: IntArray,
    illegal: BoolArray,
    spec: EncodeSpec,
) -> AnyArray:
    no_time = _is_null(raw[c.TIMESTAMP])
    timestamp = pc.fill_null(raw[c.TIMESTAMP], spec.start).to_numpy()
    reasons = [
        _is_null(subjects),
        _index(raw[c.USER_ID], spec.erased) >= 0,
        illegal,
        are_users(subjects) & (user_row < 0),
        item_row < 0,
        event < 0,
        no_time,
        (timestamp < spec.start) | (timestamp >= spec.end),
    ]
    return np.select(reasons, range(1, len(VERDICTS)), default=0).astype(np.int8)


def _offending_values(raw: pa.Table, verdict: AnyArray, illegal: Mapping[str, BoolArray]) -> pa.Array:
    """The value that each row was rejected for, as text; null for accepted rows."""
    values = pa.nulls(len(raw), pa.string())
    sources = {
        "unknown_user": c.USER_ID,
        "unknown_item": c.ITEM_ID,
        "unknown_event": c.EVENT,
        "outside_window": c.TIMESTAMP,
    }
    for reason, column in sources.items():
        mask = verdict == VERDICTS.index(reason)
        if mask.any():
            values = pc.replace_with_mask(
                values, pa.array(mask), raw[column].filter(pa.array(mask)).cast(pa.string()).combine_chunks()
            )
    broken = verdict == VERDICTS.index("illegal_id")
    if broken.any():
        texts = [_describe_illegal(raw, int(row), illegal) for row in np.flatnonzero(broken)]
        values = pc.replace_with_mask(values, pa.array(broken), pa.array(texts))
    return values


def _describe_illegal(raw: pa.Table, row: int, illegal: Mapping[str, BoolArray]) -> str:
    column = next(name for name, rows in illegal.items() if rows[row])
    value = first_illegal(raw[column][row].as_py())
    return f"{column} {value[:_SHOWN_CHARS]!r}: {id_fault(value)}"


def _session_partitions(sessions: pa.ChunkedArray, num_partitions: int) -> IntArray:
    encoded = sessions.combine_chunks().dictionary_encode()
    partitions: IntArray = partitions_of(encoded.dictionary.to_pylist(), num_partitions)[encoded.indices.to_numpy()]
    return partitions


def _index(values: pa.ChunkedArray, known: pa.Array) -> IntArray:
    found: IntArray = pc.fill_null(pc.index_in(values, value_set=known), -1).to_numpy()
    return found


def _is_null(values: pa.ChunkedArray) -> AnyArray:
    mask: AnyArray = pc.is_null(values).to_numpy()
    return mask
