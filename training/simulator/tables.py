"""Writing the raw tables as Parquet, in the columns of the contract."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts import columns as c
from contracts.ids import BoolArray, IntArray, LongArray
from training.simulator.catalogue import Catalogue
from training.simulator.config import BRAND
from training.simulator.period import Period
from training.simulator.shop import Profiles
from training.simulator.traits import DEVICES, Codes, DoubleArray

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
    if catalogue.brands:
        columns[BRAND] = pa.array(catalogue.brand, pa.string())
    _write(pa.table(columns), folder / c.ITEMS.name)


def image_path(item_id: str) -> str:
    """Path of an item's picture, relative to the raw folder."""
    return f"{IMAGES}/{quote(item_id, safe='')}.png"


class InteractionWriter:
    """Writes `interactions/day=…/`, one day per call; event numbers continue over the days."""

    def __init__(self, folder: Path, user_ids: pa.Array, item_ids: pa.Array) -> None:
        self.num_rows = 0
        self._folder = folder / c.INTERACTIONS.name
        self._user_ids = user_ids
        self._item_ids = item_ids

    def write(
        self,
        day_name: str,
        *,
        user: IntArray,
        session: LongArray,
        item: IntArray,
        timestamp: LongArray,
        device: IntArray,
        event: Codes,
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
        numbers = np.arange(self.num_rows, self.num_rows + len(user))
        self.num_rows += len(user)
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


@dataclass(frozen=True)
class ShownSlates:
    """S slates of L items.

    Attributes:
        user: rows of the users [S].
        session: session numbers [S].
        timestamp: Unix seconds [S].
        device: device codes [S].
        items: rows of the items [S, L].
        clicked: [S, L].
        propensity: probability of the policy's pick at a position, given the positions before it [S, L].
    """

    user: IntArray
    session: LongArray
    timestamp: LongArray
    device: IntArray
    items: IntArray
    clicked: BoolArray
    propensity: DoubleArray


class ImpressionWriter:
    """Writes `impressions/day=…/`, one row per shown item; request numbers continue over the days."""

    def __init__(self, folder: Path, user_ids: pa.Array, item_ids: pa.Array) -> None:
        self.num_rows = 0
        self._num_requests = 0
        self._folder = folder / c.IMPRESSIONS.name
        self._user_ids = user_ids
        self._item_ids = item_ids

    def write(self, day_name: str, slates: ShownSlates) -> None:
        """Writes one day's slates, sorted by timestamp."""
        num_slates, length = slates.items.shape
        row = np.repeat(np.arange(num_slates), length)
        columns = {
            c.REQUEST_ID: numbered("r", self._num_requests + row),
            c.USER_ID: self._user_ids.take(pa.array(slates.user[row])),
            c.SESSION_ID: numbered("s", slates.session[row]),
            c.ITEM_ID: self._item_ids.take(pa.array(slates.items.ravel())),
            c.POSITION: pa.array(np.tile(np.arange(length), num_slates)),
            c.TIMESTAMP: pa.array(slates.timestamp[row]),
            c.CLICKED: pa.array(slates.clicked.ravel()),
            c.DEVICE_TYPE: _named(DEVICES, slates.device[row]),
            c.PROPENSITY: pa.array(slates.propensity.ravel()),
        }
        self.num_rows += len(row)
        self._num_requests += num_slates
        _write(pa.table(columns), self._folder / f"{c.DAY}={day_name}")


def numbered(prefix: str, numbers: Codes) -> pa.Array:
    """Ids such as `e0000000012`, which sort as their numbers do."""
    digits = pc.utf8_lpad(pc.cast(pa.array(numbers), pa.string()), _NUMBER_WIDTH, "0")
    return pc.binary_join_element_wise(prefix, digits, "")


def _named(names: tuple[str | None, ...], codes: Codes) -> pa.Array:
    return pa.array(names, pa.string()).take(pa.array(codes))


def _write(table: pa.Table, folder: Path) -> None:
    folder.mkdir(parents=True)
    dictionary = [name for name in table.column_names if name not in _UNIQUE]
    pq.write_table(table, folder / "part-0.parquet", use_dictionary=dictionary)
