from __future__ import annotations

import numpy as np
import pytest

from contracts.errors import ConfigError
from training.simulator.config import SimulatorConfig
from training.simulator.period import Period
from training.simulator.sessions import MAX_LENGTH, Sessions, draw_sessions, event_times
from training.simulator.simulate import build_shop

# Clocks go forward on 2026-03-29 in Berlin: that day has 23 hours.
BERLIN = Period(first_day=20_538, num_days=4, timezone="Europe/Berlin")


@pytest.fixture(scope="module")
def sessions() -> Sessions:
    shop = build_shop(SimulatorConfig(size="debug", num_items=20), BERLIN)
    return draw_sessions(shop.population, BERLIN, 9_000, np.random.default_rng(0))


def test_events_number_as_asked(sessions: Sessions) -> None:
    assert 9_000 - MAX_LENGTH <= sessions.length.sum() <= 9_000
    assert (sessions.length.min(), sessions.length.max()) == (2, MAX_LENGTH)


def test_sessions_are_told_apart_by_gaps_of_thirty_minutes(sessions: Sessions) -> None:
    times = event_times(sessions, np.random.default_rng(1))
    gaps = np.diff(times, axis=1)
    assert gaps.min() >= 10
    assert gaps.max() < 600
    end = times[np.arange(len(sessions)), sessions.length - 1]
    order = np.lexsort((sessions.start, sessions.user))
    same_user = np.diff(sessions.user[order]) == 0
    assert same_user.any()
    quiet = sessions.start[order][1:] - end[order][:-1]
    assert quiet[same_user].min() >= 3_600


def test_sessions_stay_within_their_shop_local_day(sessions: Sessions) -> None:
    times = event_times(sessions, np.random.default_rng(1))
    end = times[np.arange(len(sessions)), sessions.length - 1]
    days = BERLIN.first_day + sessions.day
    assert (BERLIN.calendar.day(sessions.start) == days).all()
    assert (BERLIN.calendar.day(end) == days).all()
    assert (np.diff(sessions.start) >= 0).all()
    assert (sessions.daypart == BERLIN.calendar.hour(sessions.start) // 6).all()
    assert set(sessions.day) == {0, 1, 2, 3}


def test_nobody_comes_before_arriving() -> None:
    shop = build_shop(SimulatorConfig(size="debug", num_items=20), BERLIN)
    sessions = draw_sessions(shop.population, BERLIN, 9_000, np.random.default_rng(0))
    assert (sessions.day >= shop.population.arrival_day[sessions.user]).all()
    late = (shop.population.arrival_day > 0).mean()
    assert 0.1 < late < 0.2


def test_too_many_events_are_refused() -> None:
    shop = build_shop(SimulatorConfig(size="debug", num_items=20, num_users=3), BERLIN)
    with pytest.raises(
        ConfigError, match="num_events=9000 does not fit: 3 users in 4 days have time for about 180; lower"
    ):
        draw_sessions(shop.population, BERLIN, 9_000, np.random.default_rng(0))
