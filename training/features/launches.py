"""Compares launch times and events: an item cannot be a positive before its launch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from contracts import columns as c
from contracts.ids import LongArray

_MANY: Final = 0.5


def launch_times(items: pa.Table) -> LongArray:
    """Unix seconds of each item's launch [I]; 0 = always there."""
    times: LongArray = items[c.LAUNCHED_AT].fill_null(0).to_numpy().copy()
    return times


def moved_to_first_event(items: pa.Table, statistics: pa.Table) -> pa.Table:
    """The items; launches after an item's first event are moved to it."""
    rows, first = (_flat(statistics[name]) for name in ("item_rows", "first_events"))
    times = launch_times(items)
    np.minimum.at(times, rows, first)
    launched = pa.array(times, mask=~items[c.LAUNCHED_AT].is_valid().to_numpy())
    return items.set_column(items.schema.get_field_index(c.LAUNCHED_AT), c.LAUNCHED_AT, launched)


def early_events(items: pa.Table, statistics: pa.Table) -> list[str]:
    """Examples of events before the launch of their item."""
    rows, times = (_flat(statistics[name]) for name in ("early_item_rows", "early_times"))
    names, launched = items[c.ITEM_ID].take(pa.array(rows)).to_pylist(), launch_times(items)[rows]
    early = zip(names, times.tolist(), launched.tolist(), strict=True)
    return [f"before_launch: item {name!r} at {time}, launched_at {launch}" for name, time, launch in early]


def launch_warnings(items: pa.Table, statistics: pa.Table, end: int) -> Iterator[str]:
    """Warnings about the launches.

    Args:
        items: the catalogue.
        statistics: of all partitions.
        end: Unix seconds after the last event.
    """
    times, num_early = launch_times(items), int(statistics["num_before_launch"].to_numpy().sum())
    num_later = int((times >= end).sum())
    if num_early:
        yield (
            f"{num_early} events came before the launch of their item: they are history, but no positives and without "
            "label; correct launched_at, or set preprocess.before_launch to move_launch"
        )
    if num_later > _MANY * len(times):
        yield (
            f"{num_later} of {len(times)} items are launched after the last event and recommended to nobody until "
            "then; is launched_at right?"
        )


def _flat(lists: pa.ChunkedArray) -> LongArray:
    values: LongArray = lists.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.astype(np.int64)
