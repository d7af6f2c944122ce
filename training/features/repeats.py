"""Finds rows that repeat the event of another row.

Event ids identify events only within a subject, because shops number the rows of a day or session. So a row repeats
another if subject, event id, item, event and time are equal. With another item or time it is an event of its own whose
id is reused. If both the shop and serving have an event, their rows match by subject, id, item and day: the two clocks
may differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from contracts import columns as c
from contracts.ids import AnyArray, BoolArray, IntArray, LongArray
from training.features.encode import HAPPENED_MS, ITEM_ROW

DUPLICATE: Final = "duplicate_event"
RECORDED: Final = "recorded_event"
REPEATS: Final = (DUPLICATE, RECORDED)
"""Reasons why repeats are kept out."""
REUSED: Final = "reused_event_id"
"""Name of rows with a reused id; they are not kept out."""
NUM_EXAMPLES: Final = 5
"""Most examples of a reason."""


@dataclass(frozen=True)
class Repeats:
    """Marks of rows [E].

    Attributes:
        duplicate: repeats an earlier row.
        recorded: the shop's row of an event that serving recorded too.
        reused: an event of its own with the id of an earlier event of the subject.
    """

    duplicate: BoolArray
    recorded: BoolArray
    reused: BoolArray

    @property
    def kept(self) -> BoolArray:
        """Rows that are not repeats [E]."""
        return ~(self.duplicate | self.recorded)


def find_repeats(rows: pa.Table, subject: IntArray, day: LongArray) -> Repeats:
    """Finds the repeats among rows of whole subjects.

    Args:
        rows: event_id (none missing), item row, event, timestamp, and the time of recorded events.
        subject: number of each row's subject [E].
        day: shop-local day of each row [E].
    """
    ids = rows[c.EVENT_ID].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    served = rows[HAPPENED_MS].is_valid().to_numpy()
    name = _codes(subject, ids)
    item, time, event = (rows[column].to_numpy() for column in (ITEM_ROW, c.TIMESTAMP, c.EVENT))
    on_day, same = _codes(name, item, day), _codes(name, item, time, event)
    met = np.zeros(len(rows), dtype=bool)
    met[on_day[served]] = True
    recorded = met[on_day] & ~served
    duplicate = ~recorded & ~_first(same, ~recorded)
    kept = ~(recorded | duplicate)
    return Repeats(duplicate, recorded, kept & ~_first(name, kept))


def count_repeats(rows: pa.Table, repeats: Repeats, subject: IntArray, names: pa.Array) -> dict[str, object]:
    """Counts of repeats, with the first examples by event id and time.

    Args:
        rows: as above.
        repeats: what was found.
        subject: as above.
        names: of the subjects.
    """
    found = {DUPLICATE: repeats.duplicate, RECORDED: repeats.recorded, REUSED: repeats.reused}
    examples = []
    for reason, mask in found.items():
        some = rows.select([c.EVENT_ID, c.TIMESTAMP]).append_column("subject", pa.array(subject)).filter(pa.array(mask))
        some = some.sort_by([(c.EVENT_ID, "ascending"), (c.TIMESTAMP, "ascending")]).slice(0, NUM_EXAMPLES)
        examples += [
            f"{reason}: {row[c.EVENT_ID]!r} of {names[row['subject']]} at {row[c.TIMESTAMP]}"
            for row in some.to_pylist()
        ]
    counts = {f"num_{reason}s": int(mask.sum()) for reason, mask in found.items()}
    return {**counts, "examples": examples}


def _codes(*columns: AnyArray) -> LongArray:
    """A code of each row [E]; codes are equal where all columns are."""
    codes = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        values, places = np.unique(column, return_inverse=True)
        codes = np.unique(codes * len(values) + places, return_inverse=True)[1]
    return codes


def _first(codes: LongArray, among: BoolArray) -> BoolArray:
    """Whether a row is the first of some rows with its code [E]."""
    rows = np.flatnonzero(among)
    first = np.zeros(len(codes), dtype=bool)
    first[rows[np.unique(codes[rows], return_index=True)[1]]] = True
    return first
