from __future__ import annotations

import pytest

from contracts.config import validate
from contracts.errors import ConfigError
from training.splits import Split, SplitConfig, make_split

FOURTEEN = range(100, 114)


def test_of_fourteen_days_twelve_train() -> None:
    assert make_split(SplitConfig(), FOURTEEN) == Split(100, 111, 112, 112, 113, 113)


def test_other_numbers_of_days() -> None:
    config = SplitConfig(train_days=3, validation_days=2, test_days=2)
    assert make_split(config, FOURTEEN) == Split(100, 102, 103, 104, 105, 106)


def test_the_first_day_may_be_later_than_the_tables() -> None:
    config = SplitConfig(first_day="1970-04-13")  # day 102
    assert make_split(config, FOURTEEN) == Split(102, 111, 112, 112, 113, 113)


def test_a_gap_between_days_counts_as_days() -> None:
    assert make_split(SplitConfig(), [100, 105]) == Split(100, 103, 104, 104, 105, 105)


@pytest.mark.parametrize(
    ("config", "days", "message"),
    [
        (SplitConfig(), [100, 101], "empty training window: the tables cover 1970-04-11 to 1970-04-12; .*at least 3"),
        (SplitConfig(test_days=13), FOURTEEN, "empty training window: .*split.test_days 13 needs at least 15 days"),
        (SplitConfig(first_day="1970-04-01"), FOURTEEN, "empty training window: .*split.first_day 1970-04-01"),
        (SplitConfig(train_days=13), FOURTEEN, "split.train_days 13, .* need 15 days from 1970-04-11 on, but the tabl"),
    ],
)
def test_impossible_splits_name_their_settings(config: SplitConfig, days: list[int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_split(config, days)


@pytest.mark.parametrize("text", ["yesterday", "2024-13-01", "20240101"])
def test_first_day_must_be_a_date(text: str) -> None:
    with pytest.raises(ConfigError, match="first_day"):
        validate(SplitConfig, {"first_day": text}, source="test")
