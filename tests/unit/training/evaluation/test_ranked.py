"""Ranks from scores and from lists."""

from __future__ import annotations

import numpy as np

from contracts.clock import DAY_S
from contracts.messages import Candidates
from tests.fixtures.events import event_table
from training.evaluation.config import EvaluationConfig
from training.evaluation.ranked import LIST_K, Ranked, rank_scores, target_ranks
from training.evaluation.test_day import test_day as collect

DAY = 20


def test_ranks_count_better_scores_and_ties_before_the_target() -> None:
    scores = np.array([[5, 3, 3, 3], [1, 2, -np.inf, 0]], dtype=np.float32)
    ties = np.array([3, 2, 0, 1])
    assert target_ranks(scores, np.array([3, 1], np.int32), ties).tolist() == [3, 1]
    assert target_ranks(scores, np.array([0, 2], np.int32), ties).tolist() == [1, 0]


def test_lists_are_entered_by_query() -> None:
    ranked = Ranked.empty(3)
    rows = np.array([4, 2, 9, *range(20, 32)], dtype=np.int32)
    candidates = Candidates("v", rows, np.zeros(15, np.float32), np.array([3, 12], np.int32))
    target = np.array([9, 0, 31], dtype=np.int32)
    ranked.fill(np.array([0, 2]), candidates, target)
    assert ranked.rank.tolist() == [3, 0, 12]
    assert ranked.heads[0].tolist() == [4, 2, 9] + [-1] * (LIST_K - 3)
    assert ranked.heads[2].tolist() == list(range(20, 30))
    assert ranked.scored.tolist() == [True, False, True]


def test_only_launched_items_are_ranked_and_seen_ones_only_in_the_plain_result() -> None:
    time = DAY * DAY_S
    events = event_table([[(time, 0), (time + 10, 2), (time + 20, 0)]])
    launched = np.array([0, time + 15, 0, 0])
    day = collect(events, DAY, launched, EvaluationConfig())
    scores = np.tile(np.array([1, 9, 2, 3], dtype=np.float32), (3, 1))
    plain, filtered = rank_scores([(np.array([1]), scores[:1]), (np.array([0, 2]), scores[1:])], day, seed=0)
    # item 1 is launched before the third query only; items 0 and then 2 are seen
    assert plain.rank.tolist() == [3, 2, 4]
    assert plain.heads[0, :4].tolist() == [3, 2, 0, -1]
    assert filtered.scored.tolist() == [True, True, False]
    assert filtered.rank[:2].tolist() == [3, 2]


def test_seen_items_do_not_push_the_target_down() -> None:
    time = DAY * DAY_S
    events = event_table([[(time, 0), (time + 10, 1)]])
    day = collect(events, DAY, np.zeros(3, dtype=np.int64), EvaluationConfig())
    scores = np.array([[3, 2, 1], [3, 2, 1]], dtype=np.float32)
    plain, filtered = rank_scores([(np.arange(2), scores)], day, seed=0)
    assert plain.rank.tolist() == [1, 2]
    assert filtered.rank.tolist() == [1, 1]


def test_equal_scores_favour_no_row() -> None:
    time = DAY * DAY_S
    events = event_table([[(time + second, 0) for second in range(4)]])
    day = collect(events, DAY, np.zeros(50, dtype=np.int64), EvaluationConfig())
    blocks = [(np.arange(4), np.zeros((4, 50), dtype=np.float32))]
    ranks = {int(rank_scores(blocks, day, seed)[0].rank[0]) for seed in range(10)}
    assert len(ranks) > 3
