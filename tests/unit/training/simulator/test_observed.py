from __future__ import annotations

import numpy as np

from contracts.clock import ShopCalendar
from training.simulator.observed import Steps, observe
from training.simulator.shop import Profiles

HOUR = 3_600
PROFILES = Profiles(np.array([24.0, 25.0, 70.0], dtype=np.float32), np.array([0, 1, 2], dtype=np.int32))


def observed() -> Steps:
    """User 0 has a session of four events over 6 o'clock and another 30 minutes later; user 2 has one event."""
    start = 10 * 86_400 + 5 * HOUR + 3_000
    return observe(
        PROFILES,
        ShopCalendar("UTC"),
        9,
        user=np.array([0, 0, 0, 0, 0, 2]),
        timestamp=np.array([start, start + 599, start + 700, start + 800, start + 800 + 1_800, start]),
        device=np.array([1, 1, 1, 1, 0, 2]),
        item=np.array([7, 8, 7, 9, 7, 7]),
    )


def test_a_session_ends_after_thirty_quiet_minutes() -> None:
    steps = observed()
    assert steps.session_start.tolist() == [0, 0, 0, 0, 4, 5]
    assert steps.last.tolist() == [-1, 7, 8, 7, -1, -1]


def test_seen_are_the_distinct_earlier_items_of_the_session() -> None:
    seen = [sorted(row[row >= 0].tolist()) for row in observed().seen]
    assert seen == [[], [7], [7, 8], [7, 8], [], []]


def test_context_is_that_of_the_first_event() -> None:
    steps = observed()
    assert steps.context.tolist() == [1 * 4 + 0] * 4 + [0 * 4 + 1, 2 * 4 + 0]
    assert steps.day.tolist() == [1] * 6
    assert (steps.age_bin.tolist(), steps.gender.tolist()) == ([0] * 5 + [4], [0] * 5 + [2])


def test_a_slice_counts_its_own_rows() -> None:
    assert observed().take(slice(4, 6)).session_start.tolist() == [0, 1]
