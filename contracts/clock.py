"""Time. All code gets the current time from one `Clock`; hours, weekdays and days are shop-local.

A `timestamp` is int64 Unix seconds, UTC. A *day* is the number of shop-local days since 1970-01-01.
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from contracts.errors import ConfigError
from contracts.ids import LongArray

DAY_S = 86_400
HOUR_S = 3_600
_OFFSET_STEP_S = 900  # no time zone changes its offset within a quarter of an hour
_EPOCH = date(1970, 1, 1)


class Clock(Protocol):
    """The source of the current time."""

    def now(self) -> int:
        """Unix seconds, UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        return int(time.time())


class SimulatedClock:
    """A clock that stands still until it is set."""

    def __init__(self, now: int) -> None:
        self._now = now

    def now(self) -> int:
        return self._now

    def set(self, now: int) -> None:
        """Moves the clock, forwards or backwards."""
        self._now = now


class ShopCalendar:
    """Converts timestamps of any shape to shop-local hours, weekdays and days.

    Args:
        timezone: IANA name, for example `Europe/Berlin`.

    Raises:
        ConfigError: the name is unknown.
    """

    def __init__(self, timezone: str) -> None:
        try:
            self._zone = ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ConfigError(
                f"unknown timezone {timezone!r}; expected an IANA name such as 'Europe/Berlin'"
            ) from error
        self.timezone = timezone

    def local_seconds(self, timestamps: LongArray) -> LongArray:
        """Seconds since the epoch by the shop's wall clock; same shape."""
        stamps = np.asarray(timestamps, dtype=np.int64)
        if self._is_utc:
            return stamps
        steps, inverse = np.unique(stamps // _OFFSET_STEP_S, return_inverse=True)
        offsets = np.array([self._offset_s(int(step)) for step in steps], dtype=np.int64)
        return stamps + offsets[inverse].reshape(stamps.shape)

    def hour(self, timestamps: LongArray) -> LongArray:
        """Hour of the day, 0-23."""
        return self.local_seconds(timestamps) % DAY_S // HOUR_S

    def weekday(self, timestamps: LongArray) -> LongArray:
        """Monday is 0, Sunday 6."""
        return (self.local_seconds(timestamps) // DAY_S + 3) % 7

    def day(self, timestamps: LongArray) -> LongArray:
        """Shop-local days since 1970-01-01."""
        return self.local_seconds(timestamps) // DAY_S

    def start_of_day(self, day: int) -> int:
        """The first Unix second of a shop-local day."""
        local = _EPOCH + timedelta(days=day)
        return int(datetime(local.year, local.month, local.day, tzinfo=self._zone).timestamp())

    @cached_property
    def _is_utc(self) -> bool:
        return self.timezone in {"UTC", "Etc/UTC"}

    def _offset_s(self, step: int) -> int:
        offset = datetime.fromtimestamp(step * _OFFSET_STEP_S, tz=UTC).astimezone(self._zone).utcoffset()
        return 0 if offset is None else int(offset.total_seconds())


def day_to_name(day: int) -> str:
    """A day as its partition name, `YYYY-MM-DD`."""
    return (_EPOCH + timedelta(days=int(day))).isoformat()


def name_to_day(name: str) -> int:
    """The day of a partition name; raises ValueError for anything but `YYYY-MM-DD`."""
    return (date.fromisoformat(name) - _EPOCH).days
