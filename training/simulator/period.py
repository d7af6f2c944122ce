"""The shop-local days of a simulated period."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.clock import Clock, ShopCalendar, day_to_name, name_to_day
from contracts.ids import BoolArray, LongArray
from training.simulator.config import SimulatorConfig

_SATURDAY = 5


@dataclass(frozen=True)
class Period:
    """Consecutive shop-local days.

    Attributes:
        first_day: days since 1970-01-01.
        num_days: D.
        timezone: IANA name.
    """

    first_day: int
    num_days: int
    timezone: str

    @classmethod
    def of(cls, config: SimulatorConfig, clock: Clock) -> Period:
        """The configured period; without a start date it ends yesterday."""
        if config.start_date is not None:
            first = name_to_day(config.start_date.isoformat())
        else:
            today = int(ShopCalendar(config.timezone).day(np.array([clock.now()]))[0])
            first = today - config.num_days
        return cls(first, config.num_days, config.timezone)

    @property
    def calendar(self) -> ShopCalendar:
        return ShopCalendar(self.timezone)

    @property
    def names(self) -> tuple[str, ...]:
        """Partition names of the days."""
        return tuple(day_to_name(self.first_day + day) for day in range(self.num_days))

    @property
    def bounds(self) -> LongArray:
        """First Unix second of each day and of the day after [D + 1]."""
        calendar = self.calendar
        return np.array([calendar.start_of_day(self.first_day + day) for day in range(self.num_days + 1)])

    @property
    def weekend(self) -> BoolArray:
        """Whether a day is a Saturday or Sunday [D]."""
        weekdays = (np.arange(self.first_day, self.first_day + self.num_days) + 3) % 7
        return weekdays >= _SATURDAY
