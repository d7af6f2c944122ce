from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training.features.events import EventTable
from training.features.session_counts import SessionCounts
from training.models.item_counts import ItemCounts

COUNTS = np.array([0, 3, 1, 7])
DAYS = np.array([0.0, 2.0, 0.5, 3.0], dtype=np.float32)
BEFORE, AFTER, TIMES = np.array([1, 1, 1, 2]), np.array([1, 2, 3, 1]), np.array([2, 5, 1, 4])


def counts(num_following: int = 2) -> ItemCounts:
    frozen = ItemCounts(4, num_following)
    frozen.freeze(COUNTS, DAYS, BEFORE, AFTER, TIMES)
    return frozen


def test_only_what_follows_most_often_is_kept() -> None:
    frozen = counts()

    assert frozen.following.tolist() == [[4, 4], [1, 2], [1, 4], [4, 4]]  # 4 pads
    assert frozen.times.tolist() == [[0, 0], [2, 5], [4, 0], [0, 0]]
    assert frozen.total.tolist() == [0, 8, 4, 0]


def test_log_rate_and_lift_by_hand() -> None:
    # 11 events in 5.5 days: 2 a day, so half a day at that rate adds 1 event
    rates = np.array([1 / 0.5, 4 / 2.5, 2 / 1.0, 8 / 3.5])
    logs = np.log(rates / rates.mean())

    log_rate, lift = counts()(torch.tensor([1, 0]), torch.tensor([[2, 3], [2, 0]]))

    torch.testing.assert_close(log_rate, torch.tensor(logs[[[2, 3], [2, 0]]], dtype=torch.float32))
    # item 2 followed item 1 in 5 of 8 times, item 3 is not kept; nothing is known of the unknown item 0
    follows = math.log((5 / (rates[2] / rates.sum()) + 20) / 28)
    torch.testing.assert_close(lift, torch.tensor([[follows, math.log(20 / 28)], [0.0, 0.0]]))


def test_counts_are_part_of_the_weights() -> None:
    state = counts().state_dict()
    other = ItemCounts(4, 2)

    other.load_state_dict(state)

    assert set(state) == {"log_rate", "following", "times", "total"}
    assert torch.equal(other.following, counts().following)


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_sessions_are_counted_alike_in_parts(toy_events: EventTable, toy_encoded_id: np.ndarray, cut: int) -> None:
    def part(first: int, last: int) -> EventTable:
        rows = np.flatnonzero((toy_events.subject >= first) & (toy_events.subject < last))
        values = {
            name: getattr(toy_events, name)[rows] for name in ("subject", "item_row", "timestamp", "day", "positive")
        }
        return EventTable(**{**vars(toy_events), **values})

    whole = SessionCounts.of([toy_events], toy_encoded_id, 31, 20_005)

    found = SessionCounts.of([part(0, cut), part(cut, 40)], toy_encoded_id, 31, 20_005)

    for name, values in vars(whole).items():
        assert getattr(found, name).tolist() == values.tolist(), name


def test_only_neighbours_of_a_session_up_to_the_day_are_counted(
    toy_events: EventTable, toy_encoded_id: np.ndarray
) -> None:
    # two events a day and user, ten minutes apart: one transition a day; the days 0 to 5 are counted
    found = SessionCounts.of([toy_events], toy_encoded_id, 31, 20_005)

    assert found.counts.sum() == 40 * 6 * 2
    assert found.times.sum() == 40 * 6
    first = toy_encoded_id[toy_events.item_row[:2]]
    place = np.flatnonzero((found.before == first[0]) & (found.after == first[1]))
    assert len(place) == 1
