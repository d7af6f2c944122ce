from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest

from tests.unit.training.simulator.test_posterior import simulated_steps
from tests.unit.training.simulator.tiny import TWO_BRAND_TASTES, TWO_TASTES, tiny_shop
from training.simulator import SimulatorConfig, score_clicks, simulate
from training.simulator.config import ImpressionsConfig
from training.simulator.impressions import click_evidence, click_probs, draw_clicks, draw_slates
from training.simulator.posterior import ALL, believe
from training.simulator.traits import LatentSpace


def test_propensities_by_hand() -> None:
    config = ImpressionsConfig(slate_size=2, policy_noise_std=0)
    launched = np.array([True, True, False, True])
    slates = draw_slates(np.log([1.0, 2.0, 9.0, 5.0]), launched, 4_000, config, np.random.default_rng(0))
    weight = np.array([1.0, 2.0, 9.0, 5.0])
    first, second = slates.items.T
    np.testing.assert_allclose(slates.propensity[:, 0], weight[first] / 8)
    np.testing.assert_allclose(slates.propensity[:, 1], weight[second] / (8 - weight[first]))
    assert 2 not in slates.items
    # P(5 first, then 2) = 5/8 * 2/3; one standard error is 0.008.
    assert abs(((first == 3) & (second == 1)).mean() - 5 / 12) < 0.03


def test_a_slate_is_no_longer_than_the_launched_items() -> None:
    config = ImpressionsConfig(policy_noise_std=0)
    slates = draw_slates(np.zeros(3), np.array([True, False, True]), 5, config, np.random.default_rng(0))
    assert sorted(slates.items[0].tolist()) == [0, 2]
    assert slates.propensity.tolist() == [[0.5, 1.0]] * 5


@pytest.mark.parametrize("latent", [TWO_TASTES, TWO_BRAND_TASTES])
def test_click_probabilities_equal_their_definition(latent: LatentSpace) -> None:
    shop, brute = tiny_shop(latent, hazard=0.0, num_users=6)
    steps = simulated_steps(shop, num_events=60)
    config = ImpressionsConfig(click_bias=-1.0, click_slope=0.7, click_clip=1.5, position_slope=0.4)
    rows = np.arange(len(steps))
    items = np.tile(np.array([2, 0, 3], dtype=np.int32), (len(steps), 1))
    probs = click_probs(shop.model, steps, believe(shop.model, steps, rows, ALL).normaliser, items, config)
    for row in rows:
        day, context = int(steps.day[row]), int(steps.context[row])
        session = steps.item[steps.session_start[row] : row].tolist()
        for z, style in enumerate(brute.classes):
            p = brute.choice(style, day, int(steps.age_bin[row]), int(steps.gender[row]), context, session)
            for position, item in enumerate((2, 0, 3)):
                lift = np.clip(np.log(p[item] * len(brute.launched(day))), -1.5, 1.5)
                logit = -1.0 + 0.7 * lift - 0.4 * np.log(1 + position)
                assert probs[row, position, z] == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-9)


def test_evidence_by_hand() -> None:
    probs = np.array([[[0.5, 0.2], [0.1, 0.4]]])
    evidence = click_evidence(probs, np.array([[True, False]]))
    np.testing.assert_allclose(evidence, [[np.log(0.5 * 0.9), np.log(0.2 * 0.6)]])


def test_clicks_follow_the_class() -> None:
    probs = np.tile(np.array([[[0.0, 1.0], [1.0, 0.0]]]), (3, 1, 1))
    clicks = draw_clicks(probs, np.array([0, 1, 0], dtype=np.int32), np.random.default_rng(0))
    assert clicks.tolist() == [[False, True], [True, False], [False, True]]


def test_bayes_clicks_are_calibrated_and_know_earlier_slates(debug_config: SimulatorConfig, tmp_path: Path) -> None:
    many = debug_config.model_copy(update={"num_days": 5, "impressions": ImpressionsConfig(slates_per_day=400)})
    simulate(many, tmp_path / "raw")
    days = sorted(folder.name.removeprefix("day=") for folder in (tmp_path / "raw" / "impressions").iterdir())
    scores = [score_clicks(tmp_path / "raw", day) for day in days[-3:]]
    probability = np.concatenate([score.probability.ravel() for score in scores])
    clicked = np.concatenate([score.clicked.ravel() for score in scores])
    assert len(probability) == 3 * 400 * 10
    for part in np.array_split(np.argsort(probability), 4):
        error = np.sqrt((probability[part] * (1 - probability[part])).sum()) / len(part)
        assert abs(clicked[part].mean() - probability[part].mean()) < 4 * error
    table = ds.dataset(tmp_path / "raw" / "impressions" / f"day={days[-1]}").to_table()
    assert scores[-1].request_ids == tuple(table["request_id"].to_pylist()[::10])
    assert scores[-1].clicked.ravel().tolist() == table["clicked"].to_pylist()
