"""Raw values of items, as filters compare and answers show them."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from contracts.feature import Feature
from contracts.item_values import Categories, save_values, value_arrays
from contracts.presets import SHOP
from contracts.vocabulary import Vocabulary

TAGS = [["new", "sale"], None, [], ["sale"], ["b", "a", "new"]]


def test_one_category_an_item() -> None:
    brands = Categories.of_values(["bolt", None, "acme", "bolt"])
    assert brands.vocabulary == Vocabulary(("acme", "bolt"))
    assert (brands.codes.tolist(), brands.codes.dtype) == ([2, 0, 1, 2], np.int32)
    assert [brands.of_item(row) for row in range(4)] == ["bolt", None, "acme", "bolt"]


def test_lists_of_categories() -> None:
    tags = Categories.of_lists(TAGS)
    assert tags.vocabulary == Vocabulary(("a", "b", "new", "sale"))
    assert tags.codes.tolist() == [[3, 4, -1], [-1, -1, -1], [-1, -1, -1], [4, -1, -1], [2, 1, 3]]
    assert tags.codes.dtype == np.int32
    assert [tags.of_item(row) for row in range(5)] == [one or [] for one in TAGS]


def test_a_catalogue_without_values() -> None:
    assert Categories.of_values([None, None]).codes.tolist() == [0, 0]
    lists = Categories.of_lists([None, []])
    assert (lists.codes.shape, lists.of_item(0), len(lists.vocabulary)) == ((2, 0), [], 0)


def test_a_million_tags_take_seconds() -> None:
    rng = np.random.default_rng(0)
    names = np.array([f"tag {number}" for number in range(1_000)])
    lists = names[rng.integers(0, len(names), (250_000, 4))].tolist()
    start = time.process_time()
    tags = Categories.of_lists(lists)
    assert time.process_time() - start < 5  # 0.5 s; a loop over the items took 4 s and more
    assert tags.of_item(249_999) == lists[-1]


def test_what_is_written_is_what_the_bundle_expects(tmp_path: Path) -> None:
    features = (
        Feature(name="tags", side="item", kind="categories", filter=True),
        Feature(name="brand_code", side="item", kind="categorical", column="brand", answer=True),
        Feature(name="weight", side="item", kind="numeric", filter=True),
    )
    values = {
        "tags": Categories.of_lists(TAGS),
        "brand": Categories.of_values(["x", None, "y", "x", "x"]),
        "weight": np.array([1.0, np.nan, 3.0, 4.0, 5.0]),
    }
    save_values(values, tmp_path / "values")
    expected = list(value_arrays(features))
    assert expected == [("tags.codes", "int32", 2), ("brand.codes", "int32", 1), ("weight", "float64", 1)]
    for name, dtype, ndim in expected:
        array = np.load(tmp_path / "values" / f"{name}.npy")
        assert (array.dtype, array.ndim) == (np.dtype(dtype), ndim)
    assert Vocabulary.open(tmp_path / "values" / "tags") == values["tags"].vocabulary
    assert [name for name, _, _ in value_arrays(SHOP.shown)] == [
        "category_l1.codes",
        "category_l2.codes",
        "gender.codes",
        "price",
    ]
