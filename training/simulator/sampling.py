"""Drawing the items of one day's sessions from the choice model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.ids import IntArray, LongArray
from training.simulator.choice import ChoiceModel
from training.simulator.inverse_cdf import InverseCdf


@dataclass(frozen=True)
class Choosers:
    """Users and contexts of S sessions; all arrays are [S].

    Attributes:
        age_bin, gender: of the user.
        context: device * 4 + daypart.
        latent: the user's class z on that day.
        length: number of choices.
    """

    age_bin: IntArray
    gender: IntArray
    context: IntArray
    latent: IntArray
    length: IntArray


def sample_items(model: ChoiceModel, day: int, choosers: Choosers, rng: np.random.Generator) -> IntArray:
    """Draws each session's items in order, [S, longest]; -1 after a session's end.

    A draw from f that repeats an item of the session is rejected with probability 1 - r and drawn again; this draws
    from r_i f(i) / Z.
    """
    sampler = _DaySampler(model, day, choosers)
    items = np.full((len(choosers.length), int(choosers.length.max(initial=0))), -1, dtype=np.int32)
    for step in range(items.shape[1]):
        pending = np.flatnonzero(choosers.length > step)
        while len(pending):
            last = items[pending, step - 1] if step else np.full(len(pending), -1, dtype=np.int32)
            drawn = sampler.propose(pending, last, rng)
            repeated = (items[pending, :step] == drawn[:, None]).any(axis=1)
            accepted = ~repeated | (rng.random(len(pending)) < model.repeat_factor)
            items[pending[accepted], step] = drawn[accepted]
            pending = pending[~accepted]
    return items


class _DaySampler:
    """Draws from f_z on one day."""

    def __init__(self, model: ChoiceModel, day: int, choosers: Choosers) -> None:
        self._model = model
        self._day = day
        self._launched = np.flatnonzero(model.launched[day]).astype(np.int32)
        num_styles, num_items = model.within.shape[2:]
        _, num_contexts, num_personas, self._num_categories = model.category_probs.shape[1:]
        self._categories = InverseCdf.of_rows(model.category_probs[day].reshape(-1, self._num_categories))
        self._similar = InverseCdf.of_rows(model.neighbour_probs[day])

        persona, style = choosers.latent // num_styles, choosers.latent % num_styles
        self._category_row = ((choosers.age_bin * num_contexts) + choosers.context) * num_personas + persona
        self._style_row = choosers.gender * num_styles + style
        self._by_category: IntArray = np.argsort(model.category, kind="stable").astype(np.int32)
        within = model.within[day].reshape(-1, num_items)[:, self._by_category]
        segments = np.arange(len(within))[:, None] * self._num_categories + model.category[self._by_category]
        self._within = InverseCdf(within.ravel(), segments.ravel())

    def propose(self, rows: LongArray, last: IntArray, rng: np.random.Generator) -> IntArray:
        """One draw from f_z for each chooser of `rows`, after the item `last`."""
        model = self._model
        items = np.empty(len(rows), dtype=np.int32)
        anywhere = rng.random(len(rows)) < model.uniform_share
        similar = ~anywhere & (rng.random(len(rows)) < model.similar_weight(self._day, last))
        own = ~anywhere & ~similar
        items[anywhere] = self._launched[rng.integers(0, len(self._launched), int(anywhere.sum()))]
        items[similar] = model.neighbours.ravel()[self._similar.draw(last[similar], rng)]
        items[own] = self._own_taste(rows[own], rng)
        return items

    def _own_taste(self, rows: LongArray, rng: np.random.Generator) -> IntArray:
        """Draws from B_z: a category, then an item of it."""
        category_row, style_row = self._category_row[rows], self._style_row[rows]
        category = self._categories.draw(category_row, rng) - category_row * self._num_categories
        place = self._within.draw(style_row * self._num_categories + category, rng)
        items: IntArray = self._by_category[place - style_row * len(self._by_category)]
        return items
