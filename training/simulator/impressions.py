"""Logged slates: a known policy, clicks that depend on the shown items, and the likelihood of clicks.

A slate is shown at the moment of one of the user's events, before that event's choice is made. The policy is
Plackett-Luce: position by position it picks among the launched items not yet on the slate with weight
exp(base popularity + noise of that day and item). With p_z the choice probability of the choice model,

    P(click on i at position l | z) = sigmoid(a0 + a1 * clip(log(p_z(i) * |A_t|)) - b * log(1 + l))

independently of the other positions. Clicks are no interactions and change no later choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from contracts.ids import BoolArray, IntArray
from training.simulator.choice import ChoiceModel
from training.simulator.config import ImpressionsConfig
from training.simulator.inverse_cdf import InverseCdf
from training.simulator.observed import Steps
from training.simulator.posterior import mix, own_probs
from training.simulator.traits import DoubleArray


@dataclass(frozen=True)
class Slates:
    """S shown slates of L items.

    Attributes:
        items: rows of the catalogue [S, L].
        propensity: probability of each pick given the positions before it [S, L].
    """

    items: IntArray
    propensity: DoubleArray


def draw_slates(
    popularity: DoubleArray,
    launched: BoolArray,
    num_slates: int,
    config: ImpressionsConfig,
    rng: np.random.Generator,
) -> Slates:
    """Draws one day's slates.

    Args:
        popularity: base log popularity [N].
        launched: on that day [N].
        num_slates: S.
        config: the policy.
        rng: of that day.
    """
    weight = np.exp(popularity + rng.normal(0, config.policy_noise_std, len(popularity))) * launched
    picks = InverseCdf.of_rows(weight[None])
    length = min(config.slate_size, int(launched.sum()))
    items = np.full((num_slates, length), -1, dtype=np.int32)
    for position in range(length):
        pending = np.arange(num_slates)
        while len(pending):
            drawn = picks.draw(np.zeros(len(pending), dtype=np.int64), rng)
            fresh = (items[pending, :position] != drawn[:, None]).all(axis=1)
            items[pending[fresh], position] = drawn[fresh]
            pending = pending[~fresh]
    shown = weight[items]
    left = weight.sum() - (np.cumsum(shown, axis=1) - shown)
    return Slates(items, shown / left)


def click_probs(
    model: ChoiceModel, steps: Steps, normaliser: DoubleArray, items: IntArray, config: ImpressionsConfig
) -> DoubleArray:
    """P(click | z) for every shown item and class [S, L, Z].

    Args:
        model: the truth.
        steps: events at which the slates are shown [S].
        normaliser: Z_z at these events [S, Z].
        items: [S, L].
        config: how users click.
    """
    weight = model.similar_weight(steps.day, steps.last)
    num_launched = model.num_launched[steps.day]
    probs = np.empty((*items.shape, normaliser.shape[1]))
    for position, item in enumerate(items.T):
        own = own_probs(model, steps, item, context=True)
        chosen = mix(model, steps.day, own, weight, model.similar_prob(steps.day, steps.last, item))
        repeated = (steps.seen == item[:, None]).any(axis=1)
        factor = np.where(repeated, model.repeat_factor, 1.0) * num_launched
        lift = np.clip(np.log(chosen / normaliser * factor[:, None]), -config.click_clip, config.click_clip)
        logit = config.click_bias + config.click_slope * lift - config.position_slope * np.log1p(position)
        probs[:, position] = expit(logit)
    return probs


def click_evidence(probs: DoubleArray, clicked: BoolArray) -> DoubleArray:
    """Log-likelihood of a slate's clicks and non-clicks [S, Z].

    Args:
        probs: P(click | z) [S, L, Z].
        clicked: [S, L].
    """
    evidence: DoubleArray = np.log(np.where(clicked[..., None], probs, 1 - probs)).sum(axis=1)
    return evidence


def draw_clicks(probs: DoubleArray, latent: IntArray, rng: np.random.Generator) -> BoolArray:
    """Clicks of users of known class [S, L].

    Args:
        probs: P(click | z) [S, L, Z].
        latent: z of each slate's user [S].
        rng: source of randomness.
    """
    of_class = probs[np.arange(len(latent)), :, latent]
    clicks: BoolArray = rng.random(of_class.shape) < of_class
    return clicks
