"""Scores of all items for a block of choices, by matrix products over styles and categories."""

from __future__ import annotations

import numpy as np

from contracts.ids import BoolArray, FloatArray
from training.simulator.choice import ChoiceModel
from training.simulator.observed import Steps
from training.simulator.posterior import Knowledge
from training.simulator.traits import DoubleArray


def score_block(
    model: ChoiceModel, steps: Steps, weight: DoubleArray, knowledge: Knowledge, unknown: BoolArray | None = None
) -> FloatArray:
    """The sum over z of p(z | H) r_i f_z(i) / Z_z for every item.

    It sums over personas per category first, so that an item costs one product per style, not per class.

    Args:
        model: the truth.
        steps: B choices of one day and one gender.
        weight: p(z | H) / Z_z [B, Z].
        knowledge: signals that may be used.
        unknown: items that cannot be told from each other and share their mean score [N].

    Returns:
        [B, N] float32, -inf where an item is not launched.
    """
    day, eps = int(steps.day[0]), model.uniform_share
    total = weight.sum(axis=1)
    similar = model.similar_weight(day, steps.last) * knowledge.last_item
    scores = _own_scores(model, steps, weight, context=knowledge.context)
    scores *= ((1 - eps) * (1 - similar)).astype(np.float32)[:, None]
    scores += (eps / model.num_launched[day] * total).astype(np.float32)[:, None]
    _add_similar(model, steps, (1 - eps) * similar * total, scores)
    if knowledge.history:
        rows, lags = np.nonzero(steps.seen >= 0)
        scores[rows, steps.seen[rows, lags]] *= model.repeat_factor
    launched = model.launched[day]
    if unknown is not None and (unknown & launched).any():
        scores[:, unknown & launched] = scores[:, unknown & launched].mean(axis=1, keepdims=True)
    scores[:, ~launched] = -np.inf
    return scores


def _own_scores(model: ChoiceModel, steps: Steps, weight: DoubleArray, *, context: bool) -> FloatArray:
    """The sum over z of weight_z B_z(i) [B, N]."""
    day, gender = steps.day[0], steps.gender[0]
    table = model.category_probs[day] if context else model.category_probs_mean[day]
    q = table[steps.age_bin, steps.context] if context else table[steps.age_bin]
    by_style = weight.reshape(len(steps), q.shape[1], -1).transpose(0, 2, 1)
    in_category = (by_style @ q).astype(np.float32)
    within = model.within[day, gender].astype(np.float32)
    scores = np.empty((len(steps), model.num_items), dtype=np.float32)
    for category in range(q.shape[2]):
        columns = np.flatnonzero(model.category == category)
        scores[:, columns] = in_category[:, :, category] @ within[:, columns]
    return scores


def _add_similar(model: ChoiceModel, steps: Steps, share: DoubleArray, scores: FloatArray) -> None:
    rows = np.flatnonzero(share > 0)
    items = model.neighbours[steps.last[rows]]
    added = share[rows, None] * model.neighbour_probs[steps.day[0], steps.last[rows]]
    at, column = np.nonzero(items < model.num_items)
    scores[rows[at], items[at, column]] += added[at, column].astype(np.float32)
