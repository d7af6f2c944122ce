"""What choices depend on: traits of items, latent classes of users, and drawn effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.ids import IntArray

DoubleArray = NDArray[np.float64]
Codes = NDArray[np.integer[Any]]
"""Small non-negative integers of any width."""

DEVICES: Final = ("mobile", "desktop", "tablet")
NUM_DAYPARTS: Final = 4
AGE_EDGES: Final = (25.0, 35.0, 50.0, 65.0)
"""Lower bounds of the second to the fifth age bin."""
NUM_AGES: Final = len(AGE_EDGES) + 1
GENDERS: Final = ("F", "M")
"""Codes 0 and 1; anything else is code 2: a user without preference, an item for everybody."""
NO_GENDER: Final = len(GENDERS)


@dataclass(frozen=True)
class LatentSpace:
    """The classes of users: z = ((persona * tiers + tier) * num_tastes + taste) * num_brand_tastes + brand taste.

    A shop without brands has one brand taste.
    """

    num_personas: int = 16
    tier_targets: tuple[float, ...] = (-1.0, 0.0, 1.0)
    tier_probs: tuple[float, ...] = (0.4, 0.4, 0.2)
    num_tastes: int = 4
    num_brand_tastes: int = 1

    @property
    def num_styles(self) -> int:
        """Triples of price tier, taste and brand taste."""
        return len(self.tier_targets) * self.num_tastes * self.num_brand_tastes

    @property
    def num_classes(self) -> int:
        return self.num_personas * self.num_styles


@dataclass(frozen=True)
class ItemTraits:
    """What the choice model knows about N items; all arrays are [N].

    Attributes:
        category_l1: codes from 0, each used at least once.
        category_l2: codes over the whole catalogue.
        price_z: log price, standardised within category_l1.
        gender: 0 F, 1 M, 2 for everybody.
        taste: colour and material family.
        popularity: base log popularity b_i.
        launch_day: days after the first day; below 0 is before the period.
        brand: codes from 0; the number of brands stands for no brand.
    """

    category_l1: IntArray
    category_l2: IntArray
    price_z: DoubleArray
    gender: IntArray
    taste: IntArray
    popularity: DoubleArray
    launch_day: IntArray
    brand: IntArray

    def __len__(self) -> int:
        return len(self.category_l1)


@dataclass(frozen=True)
class Effects:
    """Drawn log effects and weights; P personas, C categories, D days, N items, B brands, T brand tastes.

    Attributes:
        persona_prior: p(persona | age, gender) [ages, genders + 1, P].
        persona_favourites: weights of a persona's favourite categories [P, C], rows sum to 1.
        age, device, daypart, weekend: log effects on categories [.., C].
        category_walk: drift of log category weights [D, C].
        popularity_walk: drift of popularity [D, N].
        context_probs: marginal of (device, daypart) [contexts].
        weekend_prob: share of sessions on weekends.
        brand: log effects of brands by brand taste [T, B + 1]; the last column is 0, for items without a brand.
    """

    persona_prior: DoubleArray
    persona_favourites: DoubleArray
    age: DoubleArray
    device: DoubleArray
    daypart: DoubleArray
    weekend: DoubleArray
    category_walk: DoubleArray
    popularity_walk: DoubleArray
    context_probs: DoubleArray
    weekend_prob: float
    brand: DoubleArray
