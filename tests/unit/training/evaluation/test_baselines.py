"""Baselines by hand: what they learn, from when, and what they read."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.clock import DAY_S
from tests.fixtures.events import event_table
from training.evaluation.baselines.item_to_item import (
    BASELINES,
    Ease,
    ItemKNN,
    ItemToItem,
    Markov,
    pair_counts,
    recent_matrix,
    user_item_gram,
)
from training.evaluation.baselines.popularity import Popularity
from training.evaluation.config import EvaluationConfig
from training.evaluation.test_day import test_day as collect

DAY = 20
T = DAY * DAY_S


def test_popularity_counts_strictly_before_and_within_the_window() -> None:
    events = event_table([[(T - 3 * DAY_S, 0), (T, 1)], [(T - 1, 1), (T + 5, 2)]])
    times = np.array([T - 3 * DAY_S, T, T + 1, T + 6])
    assert Popularity(events, 3).at(times).tolist() == [[0, 0, 0], [1, 1, 0], [1, 2, 0], [1, 2, 1]]
    assert Popularity(events, 3, 3).at(times).tolist() == [[0, 0, 0], [1, 1, 0], [0, 2, 0], [0, 2, 1]]


def test_popularity_in_blocks_equals_popularity_at_once() -> None:
    rng = np.random.default_rng(0)
    subjects = [
        [(int(time), int(rng.integers(0, 5))) for time in np.sort(rng.integers(T, T + 999, 30))] for _ in range(8)
    ]
    events = event_table(subjects)
    day = collect(events, DAY, np.zeros(5, dtype=np.int64), EvaluationConfig())
    small = np.concatenate([scores for _, scores in Popularity(events, 5).blocks(day, 7)])
    expected = [
        [((events.timestamp < time) & (events.item_row == item)).sum() for item in range(5)] for time in day.time
    ]
    np.testing.assert_array_equal(small, expected)


def test_recent_items_weigh_by_lag_and_repeats_keep_the_newest_place() -> None:
    events = event_table([[(1, 9)], [(1, 2), (2, 3), (3, 2), (4, 0)]])
    weights = np.array([1.0, 0.5, 0.25], dtype=np.float32)
    matrix = recent_matrix(events, np.array([4, 0, 2]), weights, 10).toarray()
    assert {item: float(value) for item, value in enumerate(matrix[0]) if value} == {2: 1.0, 3: 0.5}
    assert not matrix[1].any()
    assert {item: float(value) for item, value in enumerate(matrix[2]) if value} == {2: 1.0}


def test_pair_counts_by_hand() -> None:
    events = event_table([[(1, 0), (2, 1), (3, 2)], [(1, 1), (2, 2)]])
    counts = pair_counts(events, np.ones(5, dtype=bool), 3, np.array([1.0, 0.5], dtype=np.float32))
    assert counts.tolist() == [[0, 1, 0.5], [0, 0, 2], [0, 0, 0]]


def test_pairs_whose_later_event_is_not_known_do_not_count() -> None:
    events = event_table([[(1, 0), (2, 1), (3, 2)]])
    counts = pair_counts(events, events.timestamp < 3, 3, np.array([1.0], dtype=np.float32))
    assert counts.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_the_gram_counts_subjects_once() -> None:
    events = event_table([[(1, 0), (2, 1), (3, 0)], [(1, 1)]])
    assert user_item_gram(events, np.ones(4, dtype=bool), 2).tolist() == [[1, 1], [1, 2]]


def test_item_knn_is_the_shrunk_cosine() -> None:
    events = event_table([[(1, 0), (2, 1)], [(1, 0), (2, 1)], [(1, 1)]])
    matrix = ItemKNN(shrinkage=2.0).fit(events, np.ones(5, dtype=bool), 2)
    np.testing.assert_allclose(matrix, [[0, 2 / (np.sqrt(6) + 2)], [2 / (np.sqrt(6) + 2), 0]], rtol=1e-6)


def test_ease_is_the_closed_form_solution() -> None:
    events = event_table([[(1, 0), (2, 1)], [(1, 0), (2, 1), (3, 2)], [(1, 2)]])
    interactions = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 1]], dtype=float)
    matrix = Ease(regularisation=2.0).fit(events, np.ones(6, dtype=bool), 3)
    # each column is a ridge regression on the others
    for item in range(3):
        others = [other for other in range(3) if other != item]
        inputs = interactions[:, others]
        expected = np.linalg.solve(inputs.T @ inputs + 2 * np.eye(2), inputs.T @ interactions[:, item])
        np.testing.assert_allclose(matrix[others, item], expected, rtol=1e-4)
        assert matrix[item, item] == 0


def test_markov_is_the_smoothed_share_of_transitions() -> None:
    events = event_table([[(1, 0), (2, 1)], [(1, 0), (2, 2)], [(1, 0), (2, 2)]])
    matrix = Markov(history_length=1, smoothing=1.0).fit(events, np.ones(6, dtype=bool), 3)
    np.testing.assert_allclose(matrix[0], [0, 1 / 4, 2 / 4])


@pytest.mark.parametrize("make", BASELINES.values(), ids=BASELINES)
def test_the_future_changes_no_score(make: type[ItemToItem]) -> None:
    """Scores of the day's first half are the same whether or not the second half has happened."""
    rng = np.random.default_rng(0)
    noon = T + DAY_S // 2
    starts = np.sort(np.concatenate([rng.integers(T - 9 * DAY_S, T, (10, 20)), rng.integers(T, noon, (10, 4))], axis=1))
    past = [[(int(time), int(rng.integers(0, 6))) for time in times] for times in starts]
    whole = [[*events, (noon + number, int(rng.integers(0, 6)))] for number, events in enumerate(past)]
    scores = []
    for subjects in (past, whole):
        day = collect(event_table(subjects), DAY, np.zeros(6, dtype=np.int64), EvaluationConfig())
        scores.append(np.concatenate([block for _, block in make().blocks(day, 7, num_refreshes=1)]))
    assert len(scores[1]) == len(scores[0]) + 10
    np.testing.assert_allclose(scores[1][: len(scores[0])], scores[0], rtol=1e-6)


@pytest.mark.parametrize("make", BASELINES.values(), ids=BASELINES)
def test_users_without_history_get_the_popular_items(make: type[ItemToItem]) -> None:
    others = [[(T - 10 * number, 2), (T - 9 * number, 1), (T - 8 * number, 2)] for number in range(1, 6)]
    day = collect(event_table([*others, [(T + 5, 0)]]), DAY, np.zeros(3, dtype=np.int64), EvaluationConfig())
    (_, scores), *_ = make().blocks(day, 4, num_refreshes=1)
    assert np.argsort(-scores[-1]).tolist() == [2, 1, 0]
