"""Checks the days of a partitioned table: none may be in the future or before the shop's first one."""

from __future__ import annotations

import logging

import numpy as np

from contracts.clock import Clock, ShopCalendar, day_to_name, name_to_day
from contracts.columns import DAY
from contracts.errors import DataError
from training.features.config import PreprocessConfig
from training.tables import RawTable

logger = logging.getLogger(__name__)


def complete_days(table: RawTable, config: PreprocessConfig, clock: Clock) -> RawTable:
    """The table without today's folder: a day is read once it is over.

    Args:
        table: partitioned by day.
        config: the shop's time zone and its earliest day.
        clock: gives today.

    Raises:
        DataError: a folder's day is in the future, or before the earliest day, or no day is left.
    """
    today = int(ShopCalendar(config.timezone).day(np.array(clock.now())))
    name = table.schema.name
    for day in table.days:
        folder = f"{name}/{DAY}={day_to_name(day)}"
        if day > today:
            raise DataError(
                f"{folder} is in the future: today is {day_to_name(today)} by the clock and timezone "
                f"{config.timezone}. Remove the folder, or correct its rows, the clock or timezone"
            )
        if day < name_to_day(config.earliest_day):
            raise DataError(
                f"{folder} is before preprocess.earliest_day {config.earliest_day}. Remove the folder (were its "
                "timestamps 0 or of another unit?), or set preprocess.earliest_day to the shop's first day"
            )
    if today not in table.days:
        return table
    if len(table.days) == 1:
        raise DataError(f"{name} has no day but today, {day_to_name(today)}, which is not over; add earlier days")
    logger.info("%s/%s=%s is left out until the day is over", name, DAY, day_to_name(today))
    return table.of_days(table.days.keys() - {today})
