"""Which rows tell of an event that another row tells of already.

An event id means something within its subject only: shops number the rows of a day or of a session. So a row repeats
another if subject, event id, item, event and time are equal; one with another item or time is an event of its own that
has been given a used id. The shop's row of an event that serving recorded, too, is known by subject, id, item and day:
the two clocks may differ.
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
"""Why rows are kept out that tell of an event again."""
REUSED: Final = "reused_event_id"
"""Not kept out."""
NUM_EXAMPLES: Final = 5
"""Examples of a reason that are told."""


@dataclass(frozen=True)
class Repeats:
    """What is known about rows [E].

    Attributes:
        duplicate: repeats an earlier row.
        recorded: the shop's row of an event that serving recorded.
        reused: an event of its own under an id that an earlier one of the subject has.
    """

    duplicate: BoolArray
    recorded: BoolArray
    reused: BoolArray

    @property
    def kept(self) -> BoolArray:
        """Rows that tell of an event for the first time [E]."""
        return ~(self.duplicate | self.recorded)


def find_repeats(rows: pa.Table, subject: IntArray, day: LongArray) -> Repeats:
    """Finds the repeats among rows of whole subjects.

    Args:
        rows: event_id (none is missing), item row, event, timestamp and when a recorded event happened.
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


def tell_repeats(rows: pa.Table, repeats: Repeats, subject: IntArray, names: pa.Array) -> dict[str, object]:
    """How many rows repeat others, with the first examples by event id and time.

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
    """A number of each row [E], equal where all columns are."""
    codes = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        values, places = np.unique(column, return_inverse=True)
        codes = np.unique(codes * len(values) + places, return_inverse=True)[1]
    return codes


def _first(codes: LongArray, among: BoolArray) -> BoolArray:
    """Whether a row is the first with its code among some rows [E]."""
    rows = np.flatnonzero(among)
    first = np.zeros(len(codes), dtype=bool)
    first[rows[np.unique(codes[rows], return_index=True)[1]]] = True
    return first
