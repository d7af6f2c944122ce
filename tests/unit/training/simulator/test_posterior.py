"""The filter and the scores against an enumeration of every class, path of classes and item."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.training.simulator.brute_force import BruteForce
from tests.unit.training.simulator.tiny import PERIOD, TWO_BRAND_TASTES, TWO_PERSONAS, TWO_TASTES, tiny_shop
from training.simulator.days import Shop, simulate_day
from training.simulator.observed import Steps, observe
from training.simulator.posterior import ALL, Knowledge, believe, user_chunks
from training.simulator.scoring import score_block
from training.simulator.sessions import draw_sessions
from training.simulator.traits import LatentSpace


def simulated_steps(shop: Shop, num_events: int) -> Steps:
    sessions = draw_sessions(shop.population, shop.period, num_events, np.random.default_rng(1))
    days = [simulate_day(shop, sessions, day, np.random.default_rng([2, day])) for day in range(3)]
    session = np.concatenate([day.session for day in days])
    timestamp = np.concatenate([day.timestamp for day in days])
    user = sessions.user[session]
    order = np.lexsort((timestamp, user))
    item = np.concatenate([day.item for day in days])
    profiles, device = shop.population.profiles, sessions.device[session][order]
    return observe(
        profiles,
        PERIOD.calendar,
        PERIOD.first_day,
        user=user[order],
        timestamp=timestamp[order],
        device=device,
        item=item[order],
    )


def enumerate_user(brute: BruteForce, steps: Steps, knowledge: Knowledge) -> tuple[np.ndarray, np.ndarray]:
    """Posterior [R, Z] and scores [R, N] of one user's rows."""
    age, gender = int(steps.age_bin[0]), int(steps.gender[0])
    chosen: list[list[float]] = []
    posteriors, scores = [], []
    for row in range(len(steps)):
        session = steps.item[steps.session_start[row] : row].tolist() if knowledge.history else []
        context = int(steps.context[row]) if knowledge.context else -1
        day = int(steps.day[row])
        probs = [
            brute.choice(z, day, age, gender, context, session, use_last=knowledge.last_item) for z in brute.classes
        ]
        seen = (steps.day[: row + 1].tolist(), chosen) if knowledge.history else ([day], [])
        posterior = np.array(brute.posterior(age, gender, *seen))
        posteriors.append(posterior)
        scores.append(posterior @ np.array(probs))
        chosen.append([p[int(steps.item[row])] for p in probs])
    return np.stack(posteriors), np.stack(scores)


@pytest.mark.parametrize("latent", [TWO_PERSONAS, TWO_TASTES, TWO_BRAND_TASTES])
@pytest.mark.parametrize("hazard", [0.0, 0.3])
@pytest.mark.parametrize(
    "knowledge", [ALL, Knowledge(last_item=False), Knowledge(context=False), Knowledge(last_item=False, history=False)]
)
def test_posterior_and_scores_equal_enumeration(latent: LatentSpace, hazard: float, knowledge: Knowledge) -> None:
    shop, brute = tiny_shop(latent, hazard, num_users=6)
    steps = simulated_steps(shop, num_events=70)
    assert (steps.seen >= 0).sum() > 50
    rows = np.arange(len(steps))
    belief = believe(shop.model, steps, rows, knowledge)
    for user in np.unique(steps.user):
        at = np.flatnonzero(steps.user == user)
        posterior, scores = enumerate_user(brute, steps.take(slice(at[0], at[-1] + 1)), knowledge)
        np.testing.assert_allclose(belief.posterior[at], posterior, rtol=1e-8)
        for row, expected in zip(at, scores, strict=True):
            one = np.array([row])
            weight = belief.posterior[one] / belief.normaliser[one]
            got = score_block(shop.model, steps.take(one), weight, knowledge)[0]
            launched = shop.model.launched[steps.day[row]]
            np.testing.assert_allclose(got[launched], expected[launched], rtol=2e-5)
            assert np.isneginf(got[~launched]).all()


def test_sampled_choices_have_the_stated_probabilities() -> None:
    """Second choices of many users after the same first one, against the brute-force probabilities."""
    shop, brute = tiny_shop(TWO_TASTES, hazard=0.0, num_users=8_000)
    steps = simulated_steps(shop, num_events=150_000)
    z = shop.population.latent[steps.user, 0]
    second = (np.arange(len(steps)) - steps.session_start == 1) & (steps.last == 0)
    checked = 0
    for day, gender, style in ((0, 0, 0), (1, 1, 1), (2, 0, 1)):
        rows = np.flatnonzero(second & (steps.day == day) & (steps.gender == gender) & (z == style))
        expected = np.zeros(6)
        for row in rows:
            expected += brute_choice(brute, style, steps, int(row))
        observed = np.bincount(steps.item[rows], minlength=6)
        possible = expected > 0
        assert observed[~possible].sum() == 0
        chi_square = ((observed - expected)[possible] ** 2 / expected[possible]).sum()
        # The 99.99 % quantile with 5 degrees of freedom; contexts differ by row, which only narrows the spread.
        assert chi_square < 25.7
        checked += len(rows)
    assert checked > 500


def brute_choice(brute: BruteForce, style: int, steps: Steps, row: int) -> np.ndarray:
    key = (style, int(steps.day[row]), int(steps.age_bin[row]), int(steps.gender[row]), int(steps.context[row]))
    if key not in brute.cache:
        z = brute.classes[style]
        brute.cache[key] = brute.choice(z, *key[1:], [0])  # type: ignore[assignment]
    return np.array(brute.cache[key])


def test_true_class_gets_likelier_with_history() -> None:
    shop, _ = tiny_shop(TWO_TASTES, hazard=0.0, num_users=300)
    steps = simulated_steps(shop, num_events=6_000)
    belief = believe(shop.model, steps, np.arange(len(steps)), ALL)
    told = belief.posterior[np.arange(len(steps)), shop.population.latent[steps.user, 0]]
    age = np.arange(len(steps)) - np.searchsorted(steps.user, steps.user)
    assert told[age >= 15].mean() > told[age == 0].mean() + 0.05


@pytest.mark.parametrize("max_rows", [1, 3, 4, 100])
def test_chunks_hold_whole_users(max_rows: int) -> None:
    user = np.array([0, 0, 2, 2, 2, 2, 5, 7, 7])
    chunks = list(user_chunks(user, max_rows))
    assert [chunk.start for chunk in chunks][1:] == [chunk.stop for chunk in chunks][:-1]
    assert (chunks[0].start, chunks[-1].stop) == (0, 9)
    for chunk in chunks:
        users = set(user[chunk])
        assert len(users) == 1 or chunk.stop - chunk.start <= max_rows
        assert not users & set(np.delete(user, np.r_[chunk]))
