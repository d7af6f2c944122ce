"""Masks of training rows: they hide values, so that the OOV rows are trained."""

from __future__ import annotations

from typing import Final

import numpy as np

from contracts.ids import AnyArray
from training.features.config import PreprocessConfig

MASK_NONE: Final = 0
MASK_USER_ID: Final = 1
"""Only the user id is out of vocabulary: a registered user without events."""
MASK_USER: Final = 2
"""User id, gender and both top categories are out of vocabulary: the reference's masking."""
MASK_ALL: Final = 3
"""As `MASK_USER`, and the age is the default and the history empty: an anonymous first visit."""


def draw_masks(
    num_rows: int, config: PreprocessConfig, rng: np.random.Generator
) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Masks of rows: levels [E] uint8, devices [E] and items [E] bool."""
    masks = config.masks
    bounds = np.cumsum(
        [masks.user_rate * masks.anonymous_share, masks.user_rate * (1 - masks.anonymous_share), masks.user_id_rate]
    )
    levels = np.array([MASK_ALL, MASK_USER, MASK_USER_ID, MASK_NONE], dtype=np.uint8)
    level = levels[np.searchsorted(bounds, rng.random(num_rows), side="right")]
    return level, rng.random(num_rows) < masks.device_rate, rng.random(num_rows) < masks.item_rate
