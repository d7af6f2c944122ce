"""Times of visits: sessions that an observer can separate by a gap of 30 minutes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.clock import HOUR_S
from contracts.errors import ConfigError
from contracts.ids import BoolArray, IntArray, LongArray
from training.simulator.period import Period
from training.simulator.shop import DAYPART_WEIGHTS, HOME_DEVICE_SHARE, WEEKEND_RATE, Population
from training.simulator.traits import DEVICES, NUM_DAYPARTS, DoubleArray

MAX_LENGTH = 12
_LENGTH_P = 1 / 3.4
_QUIET_S = 3_600
_PACE_S = (10, 301)
_DAYPART_S = 6 * HOUR_S
_SPARE = 1.08
_MOST_EVENTS_PER_DAY = 30  # most events drawn per user; the quiet hour between sessions leaves about half of them


@dataclass(frozen=True)
class Sessions:
    """Sessions in the order of their start; none crosses the shop's midnight. All arrays are [S].

    Attributes:
        user: row of the population.
        day: days after the first day.
        start: Unix seconds of the first event.
        device: code of the session's device.
        daypart: 0-3, of the first event.
        length: number of events, 2 to 12.
        pace_s: the gaps between events are at least this and below twice this.
    """

    user: IntArray
    day: IntArray
    start: LongArray
    device: IntArray
    daypart: IntArray
    length: IntArray
    pace_s: IntArray

    def __len__(self) -> int:
        return len(self.user)

    @property
    def context(self) -> IntArray:
        """Device * 4 + daypart [S]."""
        return self.device * NUM_DAYPARTS + self.daypart

    def take(self, rows: LongArray | BoolArray | slice) -> Sessions:
        """The sessions of the given rows, in that order."""
        return Sessions(**{name: values[rows] for name, values in vars(self).items()})


def draw_sessions(population: Population, period: Period, num_events: int, rng: np.random.Generator) -> Sessions:
    """Draws Poisson sessions and thins them at random until their events number at most `num_events`.

    The rates are scaled to draw slightly more sessions than needed, so that at most one session's events are missing.

    Raises:
        ConfigError: the events do not fit into the days.
    """
    expected = float(_daily_rates(population, period).sum()) * (1 + 1 / _LENGTH_P)
    capacity = len(population) * period.num_days * _MOST_EVENTS_PER_DAY
    scale = _SPARE * num_events / expected
    while scale * expected <= capacity:
        sessions = _draw(population, period, scale, rng)
        total = int(sessions.length.sum())
        if total >= num_events:
            order = rng.permutation(len(sessions))
            kept = order[np.cumsum(sessions.length[order]) <= num_events]
            thinned = sessions.take(kept)
            return thinned.take(np.lexsort((thinned.user, thinned.start)))
        scale *= _SPARE * num_events / max(total, 1)
    raise ConfigError(
        f"num_events={num_events} does not fit: {len(population)} users in {period.num_days} days have time for about "
        f"{capacity // 2}; lower num_events or raise num_users or num_days"
    )


def _daily_rates(population: Population, period: Period) -> DoubleArray:
    """Expected sessions [U, D]."""
    present = np.arange(period.num_days) >= population.arrival_day[:, None]
    return population.rate[:, None] * np.where(period.weekend, WEEKEND_RATE, 1.0) * present


def _draw(population: Population, period: Period, scale: float, rng: np.random.Generator) -> Sessions:
    counts = rng.poisson(_daily_rates(population, period) * scale)
    users, days = np.nonzero(counts)
    repeats = counts[users, days]
    user, day = np.repeat(users, repeats), np.repeat(days, repeats)
    total = len(user)
    stranger = rng.random(total) >= HOME_DEVICE_SHARE
    length = np.minimum(1 + rng.geometric(_LENGTH_P, total), MAX_LENGTH)
    pace = rng.integers(*_PACE_S, total)
    longest = (length - 1) * (2 * pace - 1)
    wish = rng.choice(NUM_DAYPARTS, total, p=DAYPART_WEIGHTS) * _DAYPART_S + rng.integers(0, _DAYPART_S, total)
    bounds = period.bounds
    start = np.minimum(bounds[day] + wish, bounds[day + 1] - 1 - longest)
    order = np.lexsort((start, user))
    sessions = Sessions(
        user=user.astype(np.int32),
        day=day.astype(np.int32),
        start=start,
        device=np.where(stranger, rng.integers(0, len(DEVICES), total), population.home_device[user]).astype(np.int32),
        daypart=(period.calendar.hour(start) * HOUR_S // _DAYPART_S).astype(np.int32),
        length=length.astype(np.int32),
        pace_s=pace.astype(np.int32),
    )
    apart = _apart(user[order], start[order] - bounds[0], (start + longest)[order] - bounds[0], bounds[-1] - bounds[0])
    return sessions.take(order[apart])


def _apart(user: LongArray, start: LongArray, end: LongArray, span: int) -> BoolArray:
    """Whether a session starts at least an hour after all earlier ones of its user; rows sorted by user and start."""
    # A user's offset is larger than all times of the users before.
    offset = user * (span + 2 * _QUIET_S)
    latest_end = np.maximum.accumulate(end + offset)
    apart = np.ones(len(user), dtype=np.bool_)
    apart[1:] = start[1:] + offset[1:] >= latest_end[:-1] + _QUIET_S
    return apart


def event_times(sessions: Sessions, rng: np.random.Generator) -> LongArray:
    """Unix seconds of each event [S, 12], strictly increasing; columns past a session's length mean nothing."""
    gaps = sessions.pace_s[:, None] + rng.integers(0, sessions.pace_s[:, None], (len(sessions), MAX_LENGTH - 1))
    times = np.empty((len(sessions), MAX_LENGTH), dtype=np.int64)
    times[:, 0] = sessions.start
    times[:, 1:] = sessions.start[:, None] + np.cumsum(gaps, axis=1)
    return times
