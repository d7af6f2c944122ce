"""Writing the raw tables as Parquet, in the columns of the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts import columns as c
from contracts.ids import AnyArray, IntArray, LongArray
from training.simulator.catalogue import Catalogue
from training.simulator.choice import DEVICES, DoubleArray
from training.simulator.period import Period
from training.simulator.shop import Profiles

EVENT_PROBS: Final = (0.70, 0.18, 0.08, 0.04)
"""Shares of the kinds of events in the order of `contracts.columns.EVENTS`; they do not depend on the item."""
ITEM_GENDERS: Final = ("F", "M", "Any")
USER_GENDERS: Final = ("F", "M", None)
IMAGES: Final = "images"

_NUMBER_WIDTH = 10
_UNIQUE = (c.EVENT_ID,)


def write_users(folder: Path, user_ids: pa.Array, profiles: Profiles) -> None:
    """Writes `users/`."""
    columns = {
        c.USER_ID: user_ids,
        c.AGE: pa.array(profiles.age.astype(np.float64)),
        c.GENDER: _named(USER_GENDERS, profiles.gender),
    }
    _write(pa.table(columns), folder / c.USERS.name)


def write_items(folder: Path, catalogue: Catalogue, period: Period) -> None:
    """Writes `items/`; an item is launched at the first second of a shop-local day."""
    calendar = period.calendar
    launched_at = [calendar.start_of_day(period.first_day + int(day)) for day in catalogue.traits.launch_day]
    columns = {
        c.ITEM_ID: pa.array(catalogue.item_ids, pa.string()),
        c.TITLE: pa.array(catalogue.titles, pa.string()),
        c.DESCRIPTION: pa.array(catalogue.descriptions, pa.string()),
        c.CATEGORY_L1: pa.array(catalogue.category_l1, pa.string()),
        c.CATEGORY_L2: pa.array(catalogue.category_l2, pa.string()),
        c.GENDER: _named(ITEM_GENDERS, catalogue.traits.gender),
        c.PRICE: pa.array(catalogue.price),
        c.IMAGE_PATH: pa.array([image_path(item_id) for item_id in catalogue.item_ids], pa.string()),
        c.LAUNCHED_AT: pa.array(launched_at, pa.int64()),
    }
    _write(pa.table(columns), folder / c.ITEMS.name)


def image_path(item_id: str) -> str:
    """Where an item's picture lies, relative to the raw folder."""
    return f"{IMAGES}/{quote(item_id, safe='')}.png"


class InteractionWriter:
    """Writes `interactions/day=…/`, one day after the other; event and session numbers go on over the days."""

    def __init__(self, folder: Path, user_ids: pa.Array, item_ids: pa.Array) -> None:
        self._folder = folder / c.INTERACTIONS.name
        self._user_ids = user_ids
        self._item_ids = item_ids
        self._num_events = 0

    def write(
        self,
        day_name: str,
        *,
        user: IntArray,
        session: LongArray,
        item: IntArray,
        timestamp: LongArray,
        device: IntArray,
        event: IntArray,
    ) -> None:
        """Writes one day's events; all arrays are [E] and sorted by timestamp.

        Args:
            day_name: `YYYY-MM-DD`.
            user: rows of the users.
            session: session numbers.
            item: rows of the items.
            timestamp: Unix seconds.
            device: device codes.
            event: codes of `contracts.columns.EVENTS`.
        """
        numbers = np.arange(self._num_events, self._num_events + len(user))
        self._num_events += len(user)
        columns = {
            c.USER_ID: self._user_ids.take(pa.array(user)),
            c.SESSION_ID: numbered("s", session),
            c.ITEM_ID: self._item_ids.take(pa.array(item)),
            c.TIMESTAMP: pa.array(timestamp),
            c.DEVICE_TYPE: _named(DEVICES, device),
            c.EVENT: _named(c.EVENTS, event),
            c.EVENT_ID: numbered("e", numbers),
        }
        _write(pa.table(columns), self._folder / f"{c.DAY}={day_name}")


def write_impressions(
    folder: Path,
    day_name: str,
    *,
    request: LongArray,
    user_ids: pa.Array,
    session: LongArray,
    item_ids: pa.Array,
    timestamp: LongArray,
    device: IntArray,
    clicked: AnyArray,
    propensity: DoubleArray,
) -> None:
    """Writes `impressions/day=…/`: slates of L items, one row an item.

    Args:
        folder: the raw folder.
        day_name: `YYYY-MM-DD`.
        request: request numbers [S].
        session: session numbers [S].
        timestamp: Unix seconds [S].
        device: device codes [S].
        user_ids: raw ids [S].
        item_ids: raw ids [S * L], slate by slate.
        clicked: [S, L].
        propensity: probability of the policy's pick at a position, given the positions before it [S, L].
    """
    num_slates, slate_size = clicked.shape
    row = np.repeat(np.arange(num_slates), slate_size)
    columns = {
        c.REQUEST_ID: numbered("r", request).take(pa.array(row)),
        c.USER_ID: user_ids.take(pa.array(row)),
        c.SESSION_ID: numbered("s", session).take(pa.array(row)),
        c.ITEM_ID: item_ids,
        c.POSITION: pa.array(np.tile(np.arange(slate_size), num_slates)),
        c.TIMESTAMP: pa.array(timestamp[row]),
        c.CLICKED: pa.array(clicked.ravel()),
        c.DEVICE_TYPE: _named(DEVICES, device[row]),
        c.PROPENSITY: pa.array(propensity.ravel()),
    }
    _write(pa.table(columns), folder / c.IMPRESSIONS.name / f"{c.DAY}={day_name}")


def numbered(prefix: str, numbers: LongArray) -> pa.Array:
    """Ids such as `e0000000012`, which sort as their numbers do."""
    digits = pc.utf8_lpad(pc.cast(pa.array(numbers), pa.string()), _NUMBER_WIDTH, "0")
    return pc.binary_join_element_wise(prefix, digits, "")


def _named(names: tuple[str | None, ...], codes: IntArray) -> pa.Array:
    return pa.array(names, pa.string()).take(pa.array(codes))


def _write(table: pa.Table, folder: Path) -> None:
    folder.mkdir(parents=True)
    dictionary = [name for name in table.column_names if name not in _UNIQUE]
    pq.write_table(table, folder / "part-0.parquet", use_dictionary=dictionary)
