"""A shop of six items that runs through the same code as the large ones."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tests.unit.training.simulator.brute_force import BruteForce
from training.simulator.catalogue import Catalogue
from training.simulator.choice import build_choice_model
from training.simulator.config import DriftConfig, Preset
from training.simulator.days import Shop
from training.simulator.period import Period
from training.simulator.shop import draw_effects, draw_population, draw_profiles
from training.simulator.traits import DoubleArray, ItemTraits, LatentSpace

PRESET = Preset(uniform_share=0.1, similar_share=0.4, num_similar=2, popularity_slope=0.7, persona_weight=0.6)
TWO_PERSONAS = LatentSpace(num_personas=2, tier_targets=(0.0,), tier_probs=(1.0,), num_tastes=1)
TWO_TASTES = LatentSpace(num_personas=1, tier_targets=(0.5,), tier_probs=(1.0,), num_tastes=2)
TWO_BRAND_TASTES = LatentSpace(num_personas=1, tier_targets=(0.5,), tier_probs=(1.0,), num_tastes=1, num_brand_tastes=2)
PERIOD = Period(first_day=20_517, num_days=3, timezone="Europe/Berlin")  # a Thursday


def tiny_items() -> ItemTraits:
    """Three categories of 3, 2 and 1 items; item 4, the only neighbour of item 3, launches on day 1."""
    return ItemTraits(
        category_l1=np.array([0, 0, 0, 1, 1, 2], dtype=np.int32),
        category_l2=np.array([0, 0, 1, 2, 2, 3], dtype=np.int32),
        price_z=np.array([-1.0, 0.2, 0.8, -0.5, 0.5, 0.0]),
        gender=np.array([0, 1, 2, 2, 0, 1], dtype=np.int32),
        taste=np.array([0, 1, 0, 1, 0, 1], dtype=np.int32),
        popularity=np.array([0.3, -0.2, 0.1, 0.0, -0.4, 0.2]),
        launch_day=np.array([-30, -2, -30, -30, 1, -30], dtype=np.int32),
        brand=np.array([0, 1, 2, 1, 0, 1], dtype=np.int32),
    )


def tiny_brands(latent: LatentSpace) -> DoubleArray:
    """Brand 0 is liked by the first brand taste, brand 1 by the second; item 2 has none. One taste alone likes none."""
    if latent.num_brand_tastes == 1:
        return np.zeros((1, 3))
    return np.array([[0.8, -0.8, 0.0], [-0.8, 0.8, 0.0]])


def tiny_shop(latent: LatentSpace, hazard: float, num_users: int, seed: int = 5) -> tuple[Shop, BruteForce]:
    """The shop and the same shop by brute force; categories and popularity drift."""
    rng = np.random.default_rng(seed)
    items = tiny_items()
    drift = DriftConfig(category_std=0.2, popularity_std=0.1)
    effects = draw_effects(items, latent, drift, PERIOD.num_days, rng, tiny_brands(latent))
    model = build_choice_model(items, effects, latent, PRESET, PERIOD.weekend, hazard)
    population = draw_population(draw_profiles(num_users, rng), model.prior, hazard, PERIOD.num_days, rng)
    names = [f"i{row}" for row in range(6)]
    catalogue = Catalogue(names, names, names, names, names, np.ones(6), items, [None] * 6)
    shop = Shop(PERIOD, catalogue, pa.array([f"u{row}" for row in range(num_users)]), population, model)
    return shop, BruteForce(items, effects, latent, PRESET, PERIOD.weekend.tolist(), hazard)
