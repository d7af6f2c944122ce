"""The exact posterior of a user's class z, given everything observable before a choice.

It conditions on the user's age bin and gender and on each earlier choice of the user: its item, day and context, and
the session's choices before it. The results per class and row are p(z | H) and the normaliser Z_z of the choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import softmax

from contracts.ids import IntArray, LongArray
from training.simulator.choice import ChoiceModel
from training.simulator.observed import Steps
from training.simulator.traits import Codes, DoubleArray

_CHUNK_ROWS = 2_048  # an array [rows, classes] with this many rows stays in the cache


@dataclass(frozen=True)
class Knowledge:
    """Signals that an observer may use.

    Attributes:
        last_item: K(. | last); without it every choice is assumed to come from B_z and the uniform share.
        context: device, daypart and weekend; without it q is its average over them.
        history: earlier choices; without it the posterior is the prior given age and gender, and there is no session.
    """

    last_item: bool = True
    context: bool = True
    history: bool = True


ALL: Final = Knowledge()


@dataclass(frozen=True)
class Belief:
    """Knowledge before the choices of T rows.

    Attributes:
        posterior: p(z | H) [T, Z].
        normaliser: Z_z [T, Z].
    """

    posterior: DoubleArray
    normaliser: DoubleArray


def believe(
    model: ChoiceModel, steps: Steps, rows: LongArray, knowledge: Knowledge, extra: DoubleArray | None = None
) -> Belief:
    """Filters forward over each user's choices.

    Args:
        model: the truth.
        steps: all choices of the users in question, sorted by user and time.
        rows: the T rows of `steps` to report, before their own choice counts.
        knowledge: signals that may be used.
        extra: log-likelihoods of further observations with each row's choice [R, Z].
    """
    prior = model.prior[steps.age_bin[rows], steps.gender[rows]]
    if not knowledge.history:
        return Belief(prior, np.ones_like(prior))
    posterior, normaliser = np.empty_like(prior), np.empty_like(prior)
    for chunk in user_chunks(steps.user, _CHUNK_ROWS):
        asked = np.flatnonzero((rows >= chunk.start) & (rows < chunk.stop))
        if len(asked) == 0:
            continue
        part = steps.take(chunk)
        chosen, norm = likelihood(model, part, knowledge)
        evidence = np.log(chosen) - np.log(norm)
        if extra is not None:
            evidence += extra[chunk]
        before = _filter_forward(model, part, evidence)
        local = rows[asked] - chunk.start
        posterior[asked] = softmax(before[local], axis=1)
        normaliser[asked] = norm[local]
    return Belief(posterior, normaliser)


def user_chunks(user: Codes, max_rows: int) -> Iterator[slice]:
    """Slices of whole users with about `max_rows` rows."""
    ends = np.append(np.flatnonzero(np.diff(user)) + 1, len(user))
    start = 0
    while start < len(user):
        stop = int(
            ends[max(np.searchsorted(ends, start + max_rows, side="right") - 1, np.searchsorted(ends, start + 1))]
        )
        yield slice(start, stop)
        start = stop


def own_probs(model: ChoiceModel, steps: Steps, item: IntArray, *, context: bool) -> DoubleArray:
    """B_z(item) for one item a row [R, Z]."""
    category = model.category[item]
    if context:
        q = model.category_probs[steps.day, steps.age_bin, steps.context, :, category]
    else:
        q = model.category_probs_mean[steps.day, steps.age_bin, :, category]
    within = model.within[steps.day, steps.gender, :, item]
    return (q[:, :, None] * within[:, None, :]).reshape(len(item), -1)


def mix(model: ChoiceModel, day: Codes, own: DoubleArray, weight: DoubleArray, similar: DoubleArray) -> DoubleArray:
    """f_z from B_z [R, Z], pi_s [R] and K [R]."""
    eps = model.uniform_share
    rest = (1 - eps) * (1 - weight)[:, None] * own
    rest += (eps / model.num_launched[day] + (1 - eps) * weight * similar)[:, None]
    return rest


def likelihood(model: ChoiceModel, steps: Steps, knowledge: Knowledge) -> tuple[DoubleArray, DoubleArray]:
    """f_z of each row's choice, and Z_z, both [R, Z]; `steps` holds whole sessions."""
    weight = model.similar_weight(steps.day, steps.last) * knowledge.last_item
    own = own_probs(model, steps, steps.item, context=knowledge.context)
    chosen = mix(model, steps.day, own, weight, model.similar_prob(steps.day, steps.last, steps.item))
    repeated = (steps.seen == steps.item[:, None]).any(axis=1)
    new = np.where(repeated[:, None], 0.0, own)
    before = np.cumsum(new, axis=0) - new
    own_seen = before - before[steps.session_start]
    eps, num_seen = model.uniform_share, (steps.seen >= 0).sum(axis=1)
    seen = (1 - eps) * (1 - weight)[:, None] * own_seen
    seen += (eps * num_seen / model.num_launched[steps.day] + (1 - eps) * weight * _similar_seen(model, steps))[:, None]
    return chosen, 1 - (1 - model.repeat_factor) * seen


def _similar_seen(model: ChoiceModel, steps: Steps) -> DoubleArray:
    """The sum of K(j | last) over the items j already chosen in the session [R]."""
    rows, lags = np.nonzero(steps.seen >= 0)
    similar = model.similar_prob(steps.day[rows], steps.last[rows], steps.seen[rows, lags])
    total: DoubleArray = np.bincount(rows, similar, minlength=len(steps)).astype(np.float64)
    return total


def _filter_forward(model: ChoiceModel, steps: Steps, evidence: DoubleArray) -> DoubleArray:
    """Log p(z | all earlier rows of the user) up to a constant [R, Z]; between days z may be drawn again."""
    hazard = model.latent_hazard
    opens_user = np.append(True, steps.user[1:] != steps.user[:-1])
    opens = opens_user | np.append(True, (steps.day[1:] != steps.day[:-1]) & (hazard > 0))
    first = np.flatnonzero(opens)
    run = np.cumsum(opens) - 1
    so_far = np.cumsum(evidence, axis=0) - evidence
    before = so_far - so_far[first][run]
    prior = model.prior[steps.age_bin[first], steps.gender[first]]
    start = np.log(prior)
    last = np.append(first[1:], len(steps)) - 1
    ordinal = np.arange(len(first)) - np.flatnonzero(opens_user[first])[np.cumsum(opens_user[first]) - 1]
    for step in range(1, int(ordinal.max(initial=0)) + 1):
        now = np.flatnonzero(ordinal == step)
        end = last[now - 1]
        known = softmax(start[now - 1] + before[end] + evidence[end], axis=1)
        stays = (1 - hazard) ** (steps.day[first[now]] - steps.day[end])[:, None]
        start[now] = np.log(stays * known + (1 - stays) * prior[now])
    log_posterior: DoubleArray = before + start[run]
    return log_posterior
