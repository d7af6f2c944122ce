"""Reads a simulated shop: the observable events, and the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts import columns as c
from contracts.errors import DataError
from contracts.ids import IntArray, LongArray
from training.simulator.observed import Steps, observe
from training.simulator.shop import Profiles
from training.simulator.tables import USER_GENDERS
from training.simulator.traits import DEVICES
from training.simulator.truth import Truth


@dataclass(frozen=True)
class UserHistories:
    """All events of some users.

    Attributes:
        steps: sorted by user and time; R rows.
        timestamp: Unix seconds [R].
        event_ids: [R].
    """

    steps: Steps
    timestamp: LongArray
    event_ids: pa.Array


@dataclass(frozen=True)
class EventLog:
    """The tables of a simulation.

    Attributes:
        raw_dir: their folder.
        truth: known to the simulator only.
        item_ids: raw ids in the order of the items table.
        user_ids: raw ids in the order of the users table.
        profiles: of the users.
    """

    raw_dir: Path
    truth: Truth
    item_ids: pa.Array
    user_ids: pa.Array
    profiles: Profiles

    @classmethod
    def open(cls, raw_dir: Path) -> EventLog:
        """Opens the tables.

        Raises:
            DataError: they have no truth.
        """
        truth = Truth.open(raw_dir)
        users = pq.read_table(raw_dir / c.USERS.name)
        items = pq.read_table(raw_dir / c.ITEMS.name, columns=[c.ITEM_ID])
        gender = pc.fill_null(pc.index_in(users[c.GENDER], pa.array(USER_GENDERS[:-1])), len(USER_GENDERS) - 1)
        profiles = Profiles(users[c.AGE].to_numpy().astype(np.float32), gender.to_numpy().astype(np.int32))
        return cls(raw_dir, truth, items[c.ITEM_ID].combine_chunks(), users[c.USER_ID].combine_chunks(), profiles)

    @property
    def days(self) -> tuple[str, ...]:
        """Names of all days."""
        return self.truth.period.names

    def read_day(self, schema: c.TableSchema, day: str, names: list[str]) -> pa.Table:
        """Some columns of one day's partition.

        Raises:
            DataError: there is no such partition.
        """
        folder = self.raw_dir / schema.name / f"{c.DAY}={day}"
        if not folder.is_dir():
            raise DataError(
                f"no {schema.name} of {day} in {self.raw_dir}; the days are {self.days[0]} to {self.days[-1]}"
            )
        return pq.read_table(folder, columns=names, partitioning=None)

    def read_users(self, schema: c.TableSchema, users: pa.Array, last_day: str, names: list[str]) -> pa.Table:
        """Some columns of all rows of these users until the end of a day, one table per day."""
        days = [day for day in self.days if day <= last_day]
        tables = (self.read_day(schema, day, names) for day in days)
        return pa.concat_tables([table.filter(pc.is_in(table[c.USER_ID], users)) for table in tables])

    def histories(self, users: pa.Array, last_day: str) -> UserHistories:
        """All events of these users until the end of a day."""
        names = [c.USER_ID, c.ITEM_ID, c.TIMESTAMP, c.DEVICE_TYPE, c.EVENT_ID]
        table = self.read_users(c.INTERACTIONS, users, last_day, names)
        user = codes(table[c.USER_ID], self.user_ids)
        timestamp = table[c.TIMESTAMP].to_numpy()
        order = np.lexsort((timestamp, user))
        steps = observe(
            self.profiles,
            self.truth.period.calendar,
            self.truth.period.first_day,
            user=user[order],
            timestamp=timestamp[order],
            device=codes(table[c.DEVICE_TYPE], pa.array(DEVICES))[order],
            item=codes(table[c.ITEM_ID], self.item_ids)[order],
        )
        event_ids = table[c.EVENT_ID].combine_chunks().take(pa.array(order))
        return UserHistories(steps, timestamp[order], event_ids)


def codes(values: pa.Array | pa.ChunkedArray, names: pa.Array) -> IntArray:
    """The position of each value in `names`, which must contain them all."""
    found: IntArray = pc.index_in(values, names).to_numpy()
    return found
