from __future__ import annotations

from itertools import permutations
from math import log2

import pytest
import torch

from contracts.errors import TrainingError
from training.trainers.tied_ranks import TiedRanks, are_broken, averages


def ranks(scores: list[list[float]], positives: list[int]) -> TiedRanks:
    values = torch.tensor(scores)
    return TiedRanks(values, values.gather(1, torch.tensor(positives)[:, None]))


def test_ties_share_the_expectation_of_their_ranks() -> None:
    # One score above, two ties beside the positive: its rank is 2, 3 or 4, each with probability 1/3.
    found = ranks([[9, 5, 5, 5, 1]], [1])

    assert found.hit_rate(1).tolist() == [0]
    assert found.hit_rate(2).tolist() == pytest.approx([1 / 3])
    assert found.hit_rate(3).tolist() == pytest.approx([2 / 3])
    assert found.hit_rate(4).tolist() == [1]
    assert found.ndcg(3).tolist() == pytest.approx([(1 / log2(3) + 1 / log2(4)) / 3])
    assert found.ndcg(300).tolist() == pytest.approx([(1 / log2(3) + 1 / log2(4) + 1 / log2(5)) / 3])


def test_without_ties_they_are_the_plain_metrics() -> None:
    found = ranks([[3, 2, 1], [3, 2, 1]], [0, 2])

    assert found.hit_rate(2).tolist() == [1, 0]
    assert found.ndcg(3).tolist() == pytest.approx([1, 0.5])


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_the_expectation_is_the_mean_over_all_orders(k: int) -> None:
    scores = [2, 2, 1, 2, 3]
    orders = [sorted(range(5), key=lambda item: (-scores[item], order[item])) for order in permutations(range(5))]
    places = [order.index(1) + 1 for order in orders]

    found = ranks([scores], [1])

    assert found.hit_rate(k).tolist() == pytest.approx([sum(place <= k for place in places) / len(places)])
    gains = [1 / log2(1 + place) if place <= k else 0 for place in places]
    assert found.ndcg(k).tolist() == pytest.approx([sum(gains) / len(gains)])


def test_nan_and_minus_infinity_are_misses() -> None:
    nan, inf = float("nan"), float("inf")
    found = ranks([[nan, 1, 2], [-inf, -inf, -inf], [nan, 1, nan]], [0, 1, 1])

    assert found.hit_rate(3).tolist() == [0, 0, 1]
    assert are_broken(torch.tensor([[nan, 1.0], [1.0, inf], [1.0, 2.0]])).tolist() == [True, True, False]


def test_averages_are_over_each_metrics_rows_and_refuse_broken_scores() -> None:
    sums, counts = torch.tensor([3.0, 1.0], dtype=torch.float64), torch.tensor([4.0, 2.0])

    assert averages(["a", "b"], sums, torch.tensor(0), counts) == {"a": 0.75, "b": 0.5}
    nothing = torch.tensor([4.0, 0.0], dtype=torch.float64)
    assert averages(["a", "b"], sums, torch.tensor(0), nothing) == {"a": 0.75}, "a metric of nothing is left out"
    with pytest.raises(TrainingError, match="the scores of 2 validation rows are NaN or infinite; lower learning_rate"):
        averages(["a", "b"], sums, torch.tensor(2), counts)
