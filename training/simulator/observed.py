"""Everything observable before a choice: user, time, context, and the session so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from contracts.clock import ShopCalendar
from contracts.features import SESSION_GAP_S
from contracts.ids import BoolArray, IntArray, LongArray
from training.simulator.shop import Profiles
from training.simulator.traits import NUM_DAYPARTS, Codes

DAYPART_HOURS: Final = 24 // NUM_DAYPARTS


@dataclass(frozen=True)
class Steps:
    """Choices of some users, sorted by user and time; R rows, L the longest session less one.

    Attributes:
        user: row of the users table [R].
        day: days after the first day [R].
        age_bin: [R].
        gender: [R].
        context: device * 4 + daypart, of the session's first event [R].
        item: the chosen item [R].
        last: the session's previous choice, -1 at its first event [R].
        seen: the distinct items chosen earlier in the session [R, L], -1 pads anywhere.
        session_start: row of the session's first event [R].
    """

    user: IntArray
    day: IntArray
    age_bin: IntArray
    gender: IntArray
    context: IntArray
    item: IntArray
    last: IntArray
    seen: IntArray
    session_start: LongArray

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: LongArray | slice) -> Steps:
        """Some rows; a slice must begin at a session's first event, otherwise `session_start` is wrong."""
        values = {name: value[rows] for name, value in vars(self).items()}
        if isinstance(rows, slice):
            values["session_start"] = values["session_start"] - rows.start
        return Steps(**values)


def observe(
    profiles: Profiles,
    calendar: ShopCalendar,
    first_day: int,
    *,
    user: Codes,
    timestamp: LongArray,
    device: Codes,
    item: Codes,
) -> Steps:
    """Derives sessions and their state from events sorted by user and time; all arrays are [R].

    Args:
        profiles: of all users.
        calendar: the shop's.
        first_day: days since 1970-01-01 of day 0.
        user: rows of the users table.
        timestamp: Unix seconds.
        device: device codes.
        item: rows of the items table.
    """
    opens = np.ones(len(user), dtype=np.bool_)
    opens[1:] = (user[1:] != user[:-1]) | (np.diff(timestamp) >= SESSION_GAP_S)
    rows = np.arange(len(user))
    start = np.maximum.accumulate(np.where(opens, rows, 0))
    daypart = calendar.hour(timestamp) // DAYPART_HOURS
    seen = _seen(item.astype(np.int32), start)
    return Steps(
        user=user.astype(np.int32),
        day=(calendar.day(timestamp) - first_day).astype(np.int32),
        age_bin=profiles.age_bin[user],
        gender=profiles.gender[user],
        context=(device * NUM_DAYPARTS + daypart)[start].astype(np.int32),
        item=item.astype(np.int32),
        last=np.where(opens, -1, np.roll(item, 1)).astype(np.int32),
        seen=seen,
        session_start=start,
    )


def _seen(item: IntArray, start: LongArray) -> IntArray:
    """Distinct earlier items of the session, one column per lag; a repeat is -1 at the larger lag [R, L]."""
    place = np.arange(len(item)) - start
    num_lags = int(place.max(initial=0))
    seen = np.full((len(item), num_lags), -1, dtype=np.int32)
    for lag in range(1, num_lags + 1):
        rows = np.flatnonzero(place >= lag)
        earlier = item[rows - lag]
        repeated: BoolArray = (seen[rows, : lag - 1] == earlier[:, None]).any(axis=1)
        seen[rows, lag - 1] = np.where(repeated, -1, earlier)
    return seen
