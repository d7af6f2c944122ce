"""Splits by time: days to train on, to validate on and to test on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from contracts.clock import day_to_name, name_to_day
from contracts.config import DayName, StrictConfig
from contracts.errors import ConfigError


class SplitConfig(StrictConfig):
    """Which shop-local days train, validate and test; consecutive, in this order."""

    first_day: DayName | None = None
    """First training day, YYYY-MM-DD; null takes the first day of the tables."""
    train_days: int | None = Field(default=None, ge=1)
    """Training days; null takes all but the validation and test days. Days after the test days are not used, and today
    never is: its events are incomplete."""
    validation_days: int = Field(default=1, ge=1)
    """Days after the training days, for early figures of training."""
    test_days: int = Field(default=1, ge=1)
    """Days after the validation days, for the evaluation report."""


@dataclass(frozen=True)
class Split:
    """Shop-local days since 1970-01-01; every end is inclusive."""

    first_day: int
    train_end_day: int
    validation_day: int
    validation_end_day: int
    test_day: int
    last_day: int


def make_split(config: SplitConfig, days: Sequence[int]) -> Split:
    """Applies the configured split to the days of the tables.

    Args:
        config: the wanted numbers of days.
        days: shop-local days that have a partition; gaps between them count as (empty) days.

    Raises:
        ConfigError: the tables cover too few days, or no training day is left.
    """
    first = min(days) if config.first_day is None else name_to_day(config.first_day)
    available = max(days) - first + 1
    held_out = config.validation_days + config.test_days
    covered = f"the tables cover {day_to_name(min(days))} to {day_to_name(max(days))}"
    if first < min(days) or available <= held_out:
        raise ConfigError(
            f"empty training window: {covered}; split.first_day {day_to_name(first)} with split.validation_days "
            f"{config.validation_days} and split.test_days {config.test_days} needs at least {held_out + 1} days"
        )
    train_days = available - held_out if config.train_days is None else config.train_days
    if train_days + held_out > available:
        raise ConfigError(
            f"split.train_days {train_days}, split.validation_days {config.validation_days} and split.test_days "
            f"{config.test_days} need {train_days + held_out} days from {day_to_name(first)} on, but {covered}"
        )
    train_end = first + train_days - 1
    validation_end = train_end + config.validation_days
    return Split(first, train_end, train_end + 1, validation_end, validation_end + 1, validation_end + config.test_days)
