"""Draws of a shop: item traits, effects, and users with their hidden tastes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from contracts.ids import BoolArray, FloatArray, IntArray
from training.simulator.config import DriftConfig, Preset
from training.simulator.inverse_cdf import InverseCdf
from training.simulator.traits import (
    AGE_EDGES,
    DEVICES,
    GENDERS,
    NO_GENDER,
    NUM_AGES,
    NUM_DAYPARTS,
    Codes,
    DoubleArray,
    Effects,
    ItemTraits,
    LatentSpace,
)

AGE_WEIGHTS: Final = (0.18, 0.32, 0.25, 0.15, 0.10)
DEVICE_WEIGHTS: Final = (0.5, 0.4, 0.1)
DAYPART_WEIGHTS: Final = (0.10, 0.25, 0.30, 0.35)
HOME_DEVICE_SHARE: Final = 0.8
WEEKEND_RATE: Final = 1.2
LAUNCH_SHARE: Final = 0.08

_AGE_BOUNDS = (16, *(int(edge) for edge in AGE_EDGES), 85)
_FAVOURITES = (0.6, 0.25, 0.15)
_LATE_ARRIVALS = 0.15
_MAX_SESSIONS_PER_DAY = 4.0
_LAUNCHED_BEFORE_DAYS = (14, 400)
_BRAND_SPREAD = 1.0


def popularity(num_items: int, preset: Preset, rng: np.random.Generator) -> DoubleArray:
    """Base log popularity [N]: -slope * log(rank) with noise, ranks in random order."""
    rank = 1 + rng.permutation(num_items)
    return -preset.popularity_slope * np.log(rank) + rng.normal(0, 0.3, num_items)


def launch_days(num_items: int, num_days: int, rng: np.random.Generator) -> IntArray:
    """Launch days after the first day [N]: 8 % during the period, the others long before."""
    first, last = _LAUNCHED_BEFORE_DAYS
    days = -rng.integers(first, last, num_items)
    new = rng.permutation(num_items)[: round(LAUNCH_SHARE * num_items)]
    days[new] = rng.integers(1, num_days, len(new))
    return days.astype(np.int32)


def draw_brands(category: Codes, num_brands: int, rng: np.random.Generator) -> list[str]:
    """Brands `brand_01`, `brand_02`, … of items [N]; only the category is related to them.

    Sizes follow Zipf's law, times a factor of each brand in each category.

    Args:
        category: category_l1 of the items [N].
        num_brands: B, at least 1.
        rng: source of randomness.
    """
    size = 1 / (1 + rng.permutation(num_brands))
    weight = size * np.exp(rng.normal(0, _BRAND_SPREAD, (int(category.max()) + 1, num_brands)))
    drawn = InverseCdf.of_rows(weight).draw(category, rng) - category * num_brands
    return [f"brand_{code + 1:02}" for code in drawn]


def brand_effects(num_brands: int, num_tastes: int, weight: float, rng: np.random.Generator) -> DoubleArray:
    """Log effects of brands by brand taste [T, B + 1]; the last column is 0, for items without a brand.

    The brands are split into T groups. Each taste likes one group (+ weight) and dislikes the next (- weight); with T >
    2 it is indifferent to the others, and no brand is liked by all.
    """
    hand = rng.permutation(num_brands) % num_tastes
    taste = np.arange(num_tastes)[:, None]
    liked, disliked = hand == taste, hand == (taste + 1) % num_tastes
    return np.pad(weight * (liked.astype(np.float64) - disliked), ((0, 0), (0, 1)))


def standardise_in_category(values: DoubleArray, category: Codes) -> DoubleArray:
    """z-scores within each category [N]; 0 where all values are the same."""
    count = np.maximum(np.bincount(category), 1)
    centred = values - (np.bincount(category, values) / count)[category]
    std = np.sqrt(np.bincount(category, centred**2) / count)[category]
    scores: DoubleArray = np.divide(centred, std, out=np.zeros_like(centred), where=std > 1e-9)
    return scores


def draw_effects(
    items: ItemTraits,
    latent: LatentSpace,
    drift: DriftConfig,
    num_days: int,
    rng: np.random.Generator,
    brand: DoubleArray,
) -> Effects:
    """Draws the log effects of age, device, daypart and weekend, the personas, and the drift; takes those of brands.

    A persona's three favourite categories are drawn by size, so that tiny ones are rarely favourites.
    """
    num_categories = int(items.category_l1.max()) + 1
    favourites = np.zeros((latent.num_personas, num_categories))
    weights = np.array(_FAVOURITES[: min(len(_FAVOURITES), num_categories)])
    sizes = np.bincount(items.category_l1) / len(items)
    for row in favourites:
        row[rng.choice(num_categories, len(weights), replace=False, p=sizes)] = weights / weights.sum()
    persona = np.exp(rng.normal(0, 0.8, (NUM_AGES, NO_GENDER + 1, latent.num_personas)))
    home, share = np.array(DEVICE_WEIGHTS), HOME_DEVICE_SHARE
    device_probs = share * home + (1 - share) / len(home)
    return Effects(
        persona_prior=persona / persona.sum(axis=-1, keepdims=True),
        persona_favourites=favourites,
        age=rng.normal(0, 0.3, (NUM_AGES, num_categories)),
        device=rng.normal(0, 0.3, (len(DEVICES), num_categories)),
        daypart=rng.normal(0, 0.35, (NUM_DAYPARTS, num_categories)),
        weekend=rng.normal(0, 0.2, (2, num_categories)),
        category_walk=_walk(num_days, num_categories, drift.category_std, rng),
        popularity_walk=_walk(num_days, len(items), drift.popularity_std, rng),
        context_probs=np.outer(device_probs, DAYPART_WEIGHTS).ravel(),
        weekend_prob=2 * WEEKEND_RATE / (2 * WEEKEND_RATE + 5),
        brand=brand,
    )


def _walk(num_days: int, width: int, std: float, rng: np.random.Generator) -> DoubleArray:
    """A random walk that starts at zero [num_days, width]."""
    steps = rng.normal(0, 1, (num_days, width)) * std
    steps[0] = 0
    return np.cumsum(steps, axis=0)


@dataclass(frozen=True)
class Profiles:
    """Profiles of users; both are [U].

    Attributes:
        age: whole years.
        gender: 0 F, 1 M, 2 anything else.
    """

    age: FloatArray
    gender: IntArray

    @property
    def age_bin(self) -> IntArray:
        return age_bins(self.age)


def age_bins(age: FloatArray) -> IntArray:
    """Age bin 0-4 of ages of any shape."""
    return np.searchsorted(AGE_EDGES, age, side="right").astype(np.int32)


def draw_profiles(num_users: int, rng: np.random.Generator) -> Profiles:
    """Draws ages by bin, uniform within a bin, and genders F and M with equal probability."""
    low = rng.choice(NUM_AGES, num_users, p=AGE_WEIGHTS)
    bounds = np.array(_AGE_BOUNDS)
    age = rng.integers(bounds[low], bounds[low + 1])
    gender = rng.integers(0, len(GENDERS), num_users)
    return Profiles(age.astype(np.float32), gender.astype(np.int32))


@dataclass(frozen=True)
class Population:
    """The users of the shop; U users.

    Attributes:
        profiles: known to the shop.
        home_device: [U].
        arrival_day: first day with sessions [U].
        rate: sessions a day on working days [U].
        latent: class z on each day [U, D]; one column when it never changes.
    """

    profiles: Profiles
    home_device: IntArray
    arrival_day: IntArray
    rate: DoubleArray
    latent: IntArray

    def __len__(self) -> int:
        return len(self.rate)

    def latent_on(self, day: int) -> IntArray:
        """Class z of every user on a day [U]."""
        column: IntArray = self.latent[:, min(day, self.latent.shape[1] - 1)]
        return column


def draw_population(
    profiles: Profiles, prior: DoubleArray, hazard: float, num_days: int, rng: np.random.Generator
) -> Population:
    """Draws devices, rates, arrivals and latents of users with given profiles.

    Args:
        profiles: U users.
        prior: p(z | age, gender) [ages, genders + 1, Z].
        hazard: probability per day that z is drawn again.
        num_days: D.
        rng: source of randomness.
    """
    count = len(profiles.age)
    late = rng.random(count) < _LATE_ARRIVALS
    columns = [_draw_latent(profiles, prior, rng)]
    for _ in range(1, num_days if hazard > 0 else 1):
        jumps: BoolArray = rng.random(count) < hazard
        columns.append(np.where(jumps, _draw_latent(profiles, prior, rng), columns[-1]))
    return Population(
        profiles=profiles,
        home_device=rng.choice(len(DEVICES), count, p=DEVICE_WEIGHTS).astype(np.int32),
        arrival_day=np.where(late, rng.integers(1, num_days, count), 0).astype(np.int32),
        rate=np.minimum(rng.lognormal(-0.6, 0.7, count), _MAX_SESSIONS_PER_DAY),
        latent=np.stack(columns, axis=1),
    )


def _draw_latent(profiles: Profiles, prior: DoubleArray, rng: np.random.Generator) -> IntArray:
    num_classes = prior.shape[-1]
    cell = profiles.age_bin * prior.shape[1] + profiles.gender
    drawn = InverseCdf.of_rows(prior.reshape(-1, num_classes)).draw(cell, rng)
    latent: IntArray = (drawn - cell * num_classes).astype(np.int32)
    return latent
