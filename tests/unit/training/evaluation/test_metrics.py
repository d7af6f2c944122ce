"""Every metric by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from contracts.errors import DataError
from training.evaluation import metrics

RANKS = np.array([1, 3, 10, 11, 0], dtype=np.int32)
HITS = np.array([[True, False, True, False], [False, False, False, False], [True, True, True, True]])
NUM_TARGETS = np.array([3, 2, 9], dtype=np.int32)


def test_hit_rate_counts_ranks_within_the_cut_off() -> None:
    assert metrics.hit_rate(RANKS, 10).tolist() == [1, 1, 1, 0, 0]
    assert metrics.hit_rate(RANKS, 2).tolist() == [1, 0, 0, 0, 0]


def test_ndcg_of_one_target_falls_with_the_logarithm_of_the_rank() -> None:
    np.testing.assert_allclose(metrics.ndcg(RANKS, 10), [1, 0.5, 1 / math.log2(11), 0, 0])


def test_reciprocal_rank_has_no_cut_off() -> None:
    np.testing.assert_allclose(metrics.reciprocal_rank(RANKS), [1, 1 / 3, 1 / 10, 1 / 11, 0])


def test_precision_recall_and_f1_of_several_targets() -> None:
    np.testing.assert_allclose(metrics.precision(HITS, NUM_TARGETS), [2 / 4, 0, 1])
    np.testing.assert_allclose(metrics.recall(HITS, NUM_TARGETS), [2 / 3, 0, 4 / 9])
    np.testing.assert_allclose(metrics.f1(HITS, NUM_TARGETS), [2 * (0.5 * 2 / 3) / (0.5 + 2 / 3), 0, 8 / 13])


def test_average_precision_is_taken_at_the_places_of_the_targets() -> None:
    np.testing.assert_allclose(metrics.average_precision(HITS, NUM_TARGETS), [(1 / 1 + 2 / 3) / 3, 0, 1])


def test_list_ndcg_compares_with_a_list_that_starts_with_the_targets() -> None:
    gains = [1, 1 / math.log2(3), 1 / 2, 1 / math.log2(5)]
    expected = (gains[0] + gains[2]) / (gains[0] + gains[1] + gains[2])
    np.testing.assert_allclose(metrics.list_ndcg(HITS, NUM_TARGETS), [expected, 0, 1])


def test_auc_counts_pairs_and_ties_half() -> None:
    scores, labels = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, False, True, False])
    assert metrics.auc(scores, labels) == pytest.approx((1 + 1 + 0.5 + 1) / 4)


@pytest.mark.parametrize("label", [True, False])
def test_auc_needs_both_labels(label: bool) -> None:
    assert math.isnan(metrics.auc(np.array([0.1, 0.2]), np.array([label, label])))


def test_log_loss_is_the_negative_log_likelihood() -> None:
    losses = metrics.log_loss(np.array([0.8, 0.8, 0.0]), np.array([True, False, True]))
    np.testing.assert_allclose(losses, [-math.log(0.8), -math.log(0.2), -math.log(1e-7)])


def test_calibration_error_weighs_the_gaps_of_the_bins() -> None:
    probabilities = np.array([0.05, 0.05, 0.95, 1.0])
    labels = np.array([False, True, True, True])
    # first bin: mean 0.05, frequency 0.5; last bin: mean 0.975, frequency 1
    assert metrics.calibration_error(probabilities, labels) == pytest.approx(0.5 * 0.45 + 0.5 * 0.025)


def test_coverage_counts_distinct_items() -> None:
    lists = np.array([[0, 1, -1], [1, 2, 0]], dtype=np.int32)
    assert metrics.coverage(lists, 6) == 0.5


def test_novelty_is_mean_surprise_in_bits() -> None:
    lists = np.array([[0, 1], [2, -1]], dtype=np.int32)
    np.testing.assert_allclose(metrics.novelty(lists, np.array([0.5, 0.25, 0.125])), [1.5, 3])


def test_intra_list_diversity_is_one_minus_the_mean_cosine_of_pairs() -> None:
    vectors = np.array([[1, 0], [0, 1], [1, 0]], dtype=np.float32)
    lists = np.array([[0, 1, 2], [0, 2, -1]], dtype=np.int32)
    np.testing.assert_allclose(metrics.intra_list_diversity(lists, vectors), [1 - 1 / 3, 0], atol=1e-6)


@pytest.mark.parametrize("metric", [metrics.auc, metrics.log_loss, metrics.calibration_error])
def test_scores_that_are_nan_are_refused(metric: Callable[..., object]) -> None:
    with pytest.raises(DataError, match="1 of 3 scores are NaN, expected numbers"):
        metric(np.array([0.5, np.nan, 0.1]), np.array([True, False, True]))
