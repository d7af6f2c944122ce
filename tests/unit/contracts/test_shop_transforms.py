"""The preset `shop`: its numbers and categories encoded, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.fixtures.tiny_bundle import tiny_transforms


def test_the_age_of_the_shop() -> None:
    transforms = tiny_transforms()  # mean 40, deviation 10
    ages = np.array([17.9, 18, 24, 35, 64, 65, 90, np.nan])
    norm = transforms.encode("age_norm", ages)[:, 0]
    assert norm.tolist() == pytest.approx([-2.21, -2.2, -1.6, -0.5, 2.4, 2.5, 5.0, 0.0])
    assert transforms.encode("age_binned", ages).tolist() == [1, 2, 2, 4, 5, 6, 6, 0]
    assert transforms.cardinality("age_binned") == 7


def test_the_price_of_the_shop() -> None:
    prices = np.array([math.e**3, math.e**5, np.nan, 0.0, -4.0])  # mean of the logarithms 3, deviation 1
    assert tiny_transforms().encode("price_log_norm", prices)[:, 0].tolist() == pytest.approx([0, 2, 0, 0, 0], abs=1e-6)


def test_both_top_categories_share_the_vocabulary_of_the_items() -> None:
    transforms = tiny_transforms()
    assert transforms.cardinality("top_category_long") == transforms.cardinality("category_l1") == 4
    assert transforms.encode("top_category", ["shoes", None, "x"]).tolist() == [2, 0, 0]
    assert transforms.cardinality("item_id") == 11
    assert transforms.encode("item_id", ["i3", "i12"]).tolist() == [3, 0]
