from __future__ import annotations

import time
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.clock import ShopCalendar, SimulatedClock, SystemClock, day_to_name, name_to_day
from contracts.errors import ConfigError


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


def test_hour_weekday_and_day_are_shop_local() -> None:
    calendar = ShopCalendar("Asia/Tokyo")
    stamps = np.array([at("2026-03-01T23:30")])  # a Sunday in London, Monday 08:30 in Tokyo
    assert calendar.hour(stamps).tolist() == [8]
    assert calendar.weekday(stamps).tolist() == [0]
    assert day_to_name(int(calendar.day(stamps)[0])) == "2026-03-02"


def test_daylight_saving_moves_the_hour_but_not_the_day() -> None:
    calendar = ShopCalendar("Europe/Berlin")
    before, after = at("2026-03-29T00:59"), at("2026-03-29T01:00")  # clocks go from 2 to 3 in Berlin
    assert calendar.hour(np.array([before, after])).tolist() == [1, 3]
    assert len(set(calendar.day(np.array([before, after])).tolist())) == 1


@given(
    stamp=st.integers(min_value=0, max_value=4_000_000_000),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe"]),
)
def test_agrees_with_the_standard_library(stamp: int, zone: str) -> None:
    calendar, local = ShopCalendar(zone), datetime.fromtimestamp(stamp, ZoneInfo(zone))
    stamps = np.array([[stamp]])
    assert calendar.hour(stamps).tolist() == [[local.hour]]
    assert calendar.weekday(stamps).tolist() == [[local.weekday()]]
    assert day_to_name(int(calendar.day(stamps)[0, 0])) == local.date().isoformat()


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_a_day_starts_at_local_midnight(zone: str) -> None:
    calendar, day = ShopCalendar(zone), name_to_day("2026-03-29")
    assert calendar.start_of_day(day) == at("2026-03-29T00:00", zone)
    assert calendar.day(np.array([calendar.start_of_day(day) - 1])).tolist() == [day - 1]


def test_unknown_timezone_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown timezone 'Mars/Base'"):
        ShopCalendar("Mars/Base")


def test_clocks() -> None:
    clock = SimulatedClock(100)
    assert clock.now() == 100
    clock.set(50)
    assert clock.now() == 50
    assert abs(SystemClock().now() - time.time()) < 60
