"""The catalogue: drawn, or completed from a given items table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from contracts.ids import IntArray
from training.simulator import vocabulary as words
from training.simulator.config import Preset
from training.simulator.shop import launch_days, popularity, standardise_in_category
from training.simulator.texts import Wording, write_text
from training.simulator.traits import NO_GENDER, DoubleArray, ItemTraits

_GENDER_PROBS = (0.15, 0.15, 0.7)
_L1_SPREAD = 0.6
_L2_SPREAD = 0.5
_LOG_PRICE_MEAN = 3.9
_LOG_PRICE_L1_STD = 0.7
_LOG_PRICE_L2_STD = 0.4
_LOG_PRICE_STD = 0.6
_PRICE_RANGE = (1.99, 24_999.99)


@dataclass(frozen=True)
class Catalogue:
    """N items: their texts and prices, and their traits in the choice model.

    Attributes:
        item_ids, titles, descriptions, category_l1, category_l2: strings.
        price: [N].
        traits: inputs of the choice model.
        brand: strings, None for an item without one.
    """

    item_ids: list[str]
    titles: list[str]
    descriptions: list[str]
    category_l1: list[str]
    category_l2: list[str]
    price: DoubleArray
    traits: ItemTraits
    brand: list[str | None]

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def price_band(self) -> IntArray:
        return price_bands(self.traits.price_z)

    @property
    def brands(self) -> list[str]:
        """The distinct brands, in the order of their codes."""
        return sorted({name for name in self.brand if name is not None})

    def with_brands(self, brand: Sequence[str | None]) -> Catalogue:
        """The same items with brands [N]."""
        branded = replace(self, brand=list(brand))
        code: dict[str | None, int] = {name: row for row, name in enumerate(branded.brands)}
        codes = np.array([code.get(name, len(code)) for name in branded.brand], dtype=np.int32)
        return replace(branded, traits=replace(self.traits, brand=codes))


def price_bands(price_z: DoubleArray) -> IntArray:
    """Price band: 0 cheap, 1 middle, 2 expensive, within the item's category_l1."""
    return np.searchsorted(words.BAND_EDGES, price_z).astype(np.int32)


def draw_catalogue(num_items: int, num_days: int, preset: Preset, rng: np.random.Generator) -> Catalogue:
    """Draws items `i1` to `iN` with categories, prices, genders, tastes, texts, popularities and launch days."""
    subcategory = _draw_subcategories(num_items, rng)
    l1_names = sorted({entry.category_l1 for entry in words.SUBCATEGORIES})
    l1_of = np.array([l1_names.index(entry.category_l1) for entry in words.SUBCATEGORIES])
    log_price = (
        _LOG_PRICE_MEAN
        + rng.normal(0, _LOG_PRICE_L1_STD, len(l1_names))[l1_of[subcategory]]
        + rng.normal(0, _LOG_PRICE_L2_STD, len(words.SUBCATEGORIES))[subcategory]
        + rng.normal(0, _LOG_PRICE_STD, num_items)
    )
    price = np.clip(np.floor(np.exp(log_price)) + 0.99, *_PRICE_RANGE)
    _, category_l1 = np.unique(l1_of[subcategory], return_inverse=True)
    traits = ItemTraits(
        category_l1=category_l1.astype(np.int32),
        category_l2=subcategory.astype(np.int32),
        price_z=standardise_in_category(np.log(price), category_l1),
        gender=rng.choice(NO_GENDER + 1, num_items, p=_GENDER_PROBS).astype(np.int32),
        taste=rng.integers(0, len(words.TASTES), num_items).astype(np.int32),
        popularity=popularity(num_items, preset, rng),
        launch_day=launch_days(num_items, num_days, rng),
        brand=np.zeros(num_items, dtype=np.int32),
    )
    entries = [words.SUBCATEGORIES[row] for row in subcategory]
    bands = price_bands(traits.price_z)
    texts = [
        write_text(Wording(e.category_l1, e.name, e.nouns, int(taste), int(band), int(gender)), rng)
        for e, taste, band, gender in zip(entries, traits.taste, bands, traits.gender, strict=True)
    ]
    return Catalogue(
        item_ids=[f"i{row + 1}" for row in range(num_items)],
        titles=[title for title, _ in texts],
        descriptions=[description for _, description in texts],
        category_l1=[entry.category_l1 for entry in entries],
        category_l2=[entry.name for entry in entries],
        price=price,
        traits=traits,
        brand=[None] * num_items,
    )


def _draw_subcategories(num_items: int, rng: np.random.Generator) -> IntArray:
    l1_names = sorted({entry.category_l1 for entry in words.SUBCATEGORIES})
    l1_weight = dict(zip(l1_names, np.exp(rng.normal(0, _L1_SPREAD, len(l1_names))), strict=True))
    weight = np.array([l1_weight[entry.category_l1] for entry in words.SUBCATEGORIES])
    weight *= np.exp(rng.normal(0, _L2_SPREAD, len(weight)))
    return rng.choice(len(weight), num_items, p=weight / weight.sum()).astype(np.int32)
