"""The choice model: every choice is a mixture of closed-form distributions, given a small discrete latent.

With z = (persona, price tier, taste, brand taste) a user in context x on day t chooses item i with

    p(i) = r_i f_z(i) / Z_z
    f_z(i) = eps / |A_t| + (1 - eps) [(1 - pi_s) B_z(i) + pi_s K(i | last)]
    Z_z = 1 - (1 - r) * sum over the distinct items j already chosen in this session of f_z(j)

where A_t are the launched items, r_i = r for items already chosen in this session and else 1, and pi_s is 0 where
there is no last item or where K is empty. B_z(i) = q(category of i | persona, age, x) * w_z(i) / (sum of w_z over that
category). K spreads over the launched ones of the last item's nearest items. Everything but z is observable, so the
posterior of z, and with it the best ranking, is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from contracts.ids import BoolArray, IntArray, LongArray
from training.simulator.config import Preset
from training.simulator.traits import NO_GENDER, Codes, DoubleArray, Effects, ItemTraits, LatentSpace

REPEAT_FACTOR: Final = 0.3

_SAME_GENDER = 1.2
_OPPOSITE_GENDER = -2.5
_TIER_SHARPNESS = 0.5
_TASTE = 1.0
_LAUNCH_BOOST = 1.5
_LAUNCH_DECAY_DAYS = 2.0
_SIMILAR_L2 = 3.0
_SIMILAR_POPULARITY = 0.5


@dataclass(frozen=True)
class ChoiceModel:
    """The exact distributions; D days, N items, C categories, X contexts, P personas, S styles, Z = P * S classes.

    Attributes:
        category: category_l1 codes [N].
        launched: [D, N].
        category_probs: q [D, ages, X, P, C], context = device * 4 + daypart.
        category_probs_mean: q averaged over device, daypart and weekend [D, ages, P, C].
        within: w over its sum in the category [D, genders + 1, S, N], 0 where not launched.
        neighbours: the nearest items in ascending order [N, k], N pads.
        neighbour_probs: K(. | item) over them [D, N, k], all 0 where K is empty.
        prior: p(z | age, gender) [ages, genders + 1, Z].
        uniform_share, similar_share: eps and pi.
        repeat_factor: r.
        latent_hazard: probability per day that z is drawn again from the prior.
    """

    category: IntArray
    launched: BoolArray
    category_probs: DoubleArray
    category_probs_mean: DoubleArray
    within: DoubleArray
    neighbours: IntArray
    neighbour_probs: DoubleArray
    prior: DoubleArray
    uniform_share: float
    similar_share: float
    repeat_factor: float
    latent_hazard: float

    @property
    def num_items(self) -> int:
        return len(self.category)

    @cached_property
    def num_launched(self) -> LongArray:
        """|A_t| [D]."""
        return np.asarray(self.launched.sum(axis=1), dtype=np.int64)

    @cached_property
    def has_similar(self) -> BoolArray:
        """Whether K is not empty [D, N]."""
        return np.asarray(self.neighbour_probs.any(axis=2))

    @cached_property
    def _pair_keys(self) -> LongArray:
        rows = np.arange(self.num_items, dtype=np.int64)[:, None] * (self.num_items + 1)
        return (rows + self.neighbours).ravel()

    def similar_prob(self, day: Codes | int, last: Codes, item: Codes) -> DoubleArray:
        """K(item | last), elementwise; 0 where last is -1."""
        key = last.astype(np.int64) * (self.num_items + 1) + item
        place = np.minimum(np.searchsorted(self._pair_keys, key), len(self._pair_keys) - 1)
        probs = self.neighbour_probs.reshape(len(self.launched), -1)[day, place]
        return np.where(self._pair_keys[place] == key, probs, 0.0)

    def similar_weight(self, day: Codes | int, last: Codes) -> DoubleArray:
        """pi_s, elementwise: pi where there is a last item and K is not empty."""
        return np.where((last >= 0) & self.has_similar[day, np.maximum(last, 0)], self.similar_share, 0.0)


def build_choice_model(
    items: ItemTraits, effects: Effects, latent: LatentSpace, preset: Preset, weekend_days: BoolArray, hazard: float
) -> ChoiceModel:
    """Builds every distribution of a period.

    Args:
        items: N items, at least one launched on the first day.
        effects: drawn effects for the same items and days.
        latent: the classes.
        preset: the mixture's shares and slopes.
        weekend_days: whether a day is a Saturday or Sunday [D].
        hazard: probability per day that z is drawn again.
    """
    age_days = np.arange(len(weekend_days))[:, None] - items.launch_day
    launched = age_days >= 0
    popularity = items.popularity + effects.popularity_walk
    category_probs, category_probs_mean = _category_probs(items, effects, preset, weekend_days, launched)
    neighbours = nearest_items(items, preset.num_similar)
    num_alike = latent.num_tastes * latent.num_brand_tastes
    style_prior = np.outer(latent.tier_probs, np.full(num_alike, 1 / num_alike)).ravel()
    prior = effects.persona_prior[..., None] * style_prior
    return ChoiceModel(
        category=items.category_l1,
        launched=launched,
        category_probs=category_probs,
        category_probs_mean=category_probs_mean,
        within=_within(items, latent, effects.brand, popularity, age_days),
        neighbours=neighbours,
        neighbour_probs=_neighbour_probs(neighbours, popularity, launched),
        prior=prior.reshape(*prior.shape[:2], -1),
        uniform_share=preset.uniform_share,
        similar_share=preset.similar_share,
        repeat_factor=REPEAT_FACTOR,
        latent_hazard=hazard,
    )


def _category_probs(
    items: ItemTraits, effects: Effects, preset: Preset, weekend_days: BoolArray, launched: BoolArray
) -> tuple[DoubleArray, DoubleArray]:
    """Category distributions, per context and averaged over contexts."""
    num_categories = effects.age.shape[1]
    sizes = np.bincount(items.category_l1, minlength=num_categories) / len(items)
    weight = preset.persona_weight * effects.persona_favourites + (1 - preset.persona_weight) * sizes
    context = (effects.device[:, None] + effects.daypart[None]).reshape(-1, num_categories)
    base = np.log(weight) + effects.age[:, None, None] + context[None, :, None]
    alive = np.stack([np.bincount(items.category_l1[row], minlength=num_categories) > 0 for row in launched])

    def normalised(day: int, weekend: int) -> DoubleArray:
        q = np.exp(base + effects.weekend[weekend] + effects.category_walk[day]) * alive[day]
        return np.asarray(q / q.sum(axis=-1, keepdims=True))

    weekend_weights = (1 - effects.weekend_prob, effects.weekend_prob)
    probs, means = [], []
    for day, is_weekend in enumerate(weekend_days):
        both = (normalised(day, 0), normalised(day, 1))
        probs.append(both[int(is_weekend)])
        mean = sum(share * q for share, q in zip(weekend_weights, both, strict=True))
        means.append(np.einsum("x,axpc->apc", effects.context_probs, mean))
    return np.stack(probs), np.stack(means)


def _within(
    items: ItemTraits, latent: LatentSpace, brand: DoubleArray, popularity: DoubleArray, age_days: LongArray
) -> DoubleArray:
    """Item weights normalised in their category, [D, genders + 1, S, N]."""
    boost = _LAUNCH_BOOST * np.exp(-np.maximum(age_days, 0) / _LAUNCH_DECAY_DAYS)
    users = np.arange(NO_GENDER + 1)[:, None]
    stated = (users != NO_GENDER) & (items.gender != NO_GENDER)
    gender = np.where(stated, np.where(users == items.gender, _SAME_GENDER, _OPPOSITE_GENDER), 0.0)
    tier = -_TIER_SHARPNESS * (items.price_z - np.array(latent.tier_targets)[:, None]) ** 2
    taste = _TASTE * (items.taste == np.arange(latent.num_tastes)[:, None])
    style = ((tier[:, None] + taste[None])[:, :, None] + brand[:, items.brand]).reshape(latent.num_styles, -1)
    weight = np.exp((popularity + boost)[:, None, None] + gender[None, :, None] + style[None, None])
    weight *= (age_days >= 0)[:, None, None]
    one_hot = np.eye(int(items.category_l1.max()) + 1)[items.category_l1]
    total = (weight @ one_hot)[..., items.category_l1]
    return _ratio(weight, total)


def nearest_items(items: ItemTraits, num_similar: int) -> IntArray:
    """The nearest other items in the same category_l1, in ascending order [N, num_similar]; N pads.

    The distance is 3 if category_l2 differs, plus the difference of price_z, plus 1 if the taste differs.
    """
    count = len(items)
    nearest = np.full((count, num_similar), count, dtype=np.int32)
    for category in np.unique(items.category_l1):
        rows = np.flatnonzero(items.category_l1 == category)
        distance = (
            _SIMILAR_L2 * (items.category_l2[rows, None] != items.category_l2[rows])
            + np.abs(items.price_z[rows, None] - items.price_z[rows])
            + (items.taste[rows, None] != items.taste[rows])
        )
        np.fill_diagonal(distance, np.inf)
        kept = min(num_similar, len(rows) - 1)
        order = np.argsort(distance, axis=1, kind="stable")[:, :kept]
        nearest[rows, :kept] = np.sort(rows[order], axis=1)
    return nearest


def _neighbour_probs(neighbours: IntArray, popularity: DoubleArray, launched: BoolArray) -> DoubleArray:
    weight = np.exp(_SIMILAR_POPULARITY * popularity) * launched
    padded = np.pad(weight, ((0, 0), (0, 1)))[:, neighbours]
    total = padded.sum(axis=2, keepdims=True)
    return _ratio(padded, total)


def _ratio(part: DoubleArray, total: DoubleArray) -> DoubleArray:
    """Part over total, 0 where the total is 0."""
    ratio: DoubleArray = np.divide(part, total, out=np.zeros_like(part), where=total > 0)
    return ratio
