"""Intervals: clustered, paired, seeded."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.bootstrap import Estimate, UserBootstrap


def test_the_mean_is_that_of_the_values_and_lies_in_its_interval() -> None:
    values = np.random.default_rng(0).random(400)
    estimate = UserBootstrap(np.arange(400), 500, seed=0).mean(values)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.n == 400
    standard_error = values.std() / 20
    assert estimate.low == pytest.approx(values.mean() - 1.96 * standard_error, abs=0.3 * standard_error)
    assert estimate.high == pytest.approx(values.mean() + 1.96 * standard_error, abs=0.3 * standard_error)


def test_events_of_one_user_count_as_one_draw() -> None:
    user_values = np.random.default_rng(0).random(100)
    alone = UserBootstrap(np.arange(100), 500, seed=0).mean(user_values)
    repeated = UserBootstrap(np.repeat(np.arange(100), 9), 500, seed=0).mean(np.repeat(user_values, 9))
    assert repeated.n == 900
    assert (repeated.low, repeated.high) == pytest.approx((alone.low, alone.high), abs=1e-6)


def test_one_user_has_no_spread() -> None:
    estimate = UserBootstrap(np.zeros(3), 100, seed=0).mean(np.array([0.0, 1.0, 1.0]))
    assert (estimate.low, estimate.high) == pytest.approx((2 / 3, 2 / 3))


def test_a_mean_over_nothing_is_null() -> None:
    bootstrap = UserBootstrap(np.arange(3), 100, seed=0)
    assert bootstrap.mean(np.ones(3), np.zeros(3, dtype=bool)) == Estimate(None, None, None, 0)


def test_a_mask_leaves_values_out() -> None:
    bootstrap = UserBootstrap(np.arange(4), 100, seed=0)
    estimate = bootstrap.mean(np.array([1.0, 1.0, 5.0, np.nan]), np.array([True, True, False, False]))
    assert estimate == Estimate(1.0, 1.0, 1.0, 2)


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    values = np.random.default_rng(0).random(50)
    first, again, other = (UserBootstrap(np.arange(50), 200, seed=seed).mean(values) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_captured_share_is_the_way_gone_from_base_to_ceiling() -> None:
    rng = np.random.default_rng(0)
    base, gap = rng.random(200), rng.random(200) + 0.5
    share = UserBootstrap(np.arange(200), 300, seed=0).captured_share(
        base + 0.7 * gap, base, base + gap, np.ones(200, dtype=bool)
    )
    assert share.value == pytest.approx(0.7)
    # paired: the same users are drawn for all three, so a constant share has no spread
    assert (share.low, share.high) == pytest.approx((0.7, 0.7), abs=1e-5)


def test_captured_share_is_null_where_the_ceiling_is_not_above_the_base() -> None:
    share = UserBootstrap(np.arange(3), 100, seed=0).captured_share(
        np.ones(3), np.ones(3), np.ones(3), np.ones(3, dtype=bool)
    )
    assert share == Estimate(None, None, None, 3)
