"""Numbers of items that are standardised within their category, by hand: what is legal, encoding, and files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.encoders import NumberFit
from contracts.feature import Feature, Side
from contracts.presets import SHOP
from contracts.schema import FeatureSchema
from contracts.transforms import FittedTransforms
from contracts.vocabulary import Vocabulary
from tests.fixtures.tiny_bundle import tiny_transforms


def item(name: str, kind: str = "categorical", **encode: Any) -> Feature:
    return Feature.model_validate({"name": name, "side": "item", "kind": kind, "encode": encode})


def query(name: str) -> Feature:
    return Feature.model_validate({"name": name, "side": "query", "kind": "categorical"})


LAND, X = item("land"), item("x", "numeric", within="land")
FIT = NumberFit(fill=10.0, mean=10.0, std=5.0, means=(10, 3, 20, 10), stds=(5, 2, 4, 5))
"""By row: without a category, a, b, c; c has the statistics of all items."""


def fitted(x: Feature = X, fit: NumberFit = FIT) -> FittedTransforms:
    vocabularies = {"land": Vocabulary(("a", "b", "c")), "item_id": Vocabulary(())}
    return FittedTransforms(FeatureSchema((x, LAND)), vocabularies, {"x": fit}, "UTC")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "categorical"}, "a categorical feature has no encoding 'within'; legal: buckets"),
        ({"side": "query"}, "within=y with side=query; only numbers of items are standardised within a category"),
        ({"side": "pair"}, "within=y with side=pair; only numbers of items"),
        ({"encode": {"bins": 4}}, "bins=4 with within=y, which standardises .*; take out bins"),
        ({"encode": {"standardise": False}}, "standardise=False with within=y, .*; take out standardise"),
        (
            {"encode": {"fill": 2}},
            "fill=2.0 with within=y, which .* fills missing ones with the mean .*; take out fill",
        ),
        ({"encode": {"fill": "whole_mean"}}, "fill=whole_mean with within=y"),
    ],
)
def test_an_encoding_that_cannot_be(values: dict[str, Any], message: str) -> None:
    encode = {"within": "y", **values.get("encode", {})}
    with pytest.raises(ValueError, match=f"x: {message}"):
        Feature.model_validate({"name": "x", "side": "item", "kind": "numeric", **values, "encode": encode})


@pytest.mark.parametrize(
    ("within", "others", "legal"),
    [
        ("c", (LAND, query("c")), "land"),
        ("tags", (item("tags", "categories"), LAND), "land"),
        ("x", (LAND, item("b", buckets=9), item("d", share="land")), "land, b, d"),
        ("y", (), "none"),
    ],
)
def test_what_is_named_has_to_be_a_categorical_feature_of_items(
    within: str, others: tuple[Feature, ...], legal: str
) -> None:
    with pytest.raises(ValueError, match=f"x: encode.within='{within}' is not a cat.* of side=item; legal: {legal}$"):
        FeatureSchema((item("x", "numeric", within=within), *others))


def test_every_legal_feature_can_be_named() -> None:
    numbers = (item(f"x_{name}", "numeric", within=name, clip=[0, 9]) for name in ("land", "b", "d"))
    schema = FeatureSchema((*numbers, LAND, item("b", buckets=9), item("d", share="land")))
    assert FeatureSchema.from_values(schema.values()) == schema


def test_the_digest_of_a_schema_without_them_is_that_of_older_bundles() -> None:
    assert SHOP.digest == "18129e621d8d7eaf9d3505b433ec2c1a788fb39915522fcc1b0a77c147a1d6e1"
    assert FeatureSchema((X, LAND)).digest != FeatureSchema((item("x", "numeric"), LAND)).digest


def test_numbers_are_standardised_within_their_category() -> None:
    lands, numbers = ["a", "a", "b", "c", "far", None], np.array([5, 1, 24, 15, 5, 0])
    columns = fitted().side(Side.ITEM, {"land": lands, "x": numbers}, 6)
    assert columns.numbers.tolist() == [[1], [-1], [1], [1], [-1], [-2]]
    assert columns.numbers.dtype == np.float32
    assert columns.codes.tolist() == [[1], [1], [2], [3], [0], [0]]


def test_a_missing_number_is_the_mean_of_its_category() -> None:
    columns = fitted().side(Side.ITEM, {"land": ["a", "b", "c", None], "x": np.full(4, math.nan)}, 4)
    assert columns.numbers.tolist() == [[0]] * 4
    flagged = fitted(item("x", "numeric", within="land", missing_flag=True))
    columns = flagged.side(Side.ITEM, {"land": ["a", "a"], "x": np.array([5, math.nan])}, 2)
    assert columns.numbers.tolist() == [[1, 0], [0, 1]]


def test_without_the_column_of_the_category_all_items_count() -> None:
    numbers = np.array([5, 20])
    assert fitted().columns([X], {"x": numbers}, 2).numbers.tolist() == [[-1], [2]]
    assert fitted().encode("x", numbers).tolist() == [[-1], [2]]


def test_a_number_far_beyond_its_category_stays_small() -> None:
    far = fitted().side(Side.ITEM, {"land": ["a", "b"], "x": np.array([9e15, -9e15])}, 2)
    assert far.numbers.tolist() == [[1e6], [-1e6]]


def test_hiding_the_number_or_its_category_leaves_the_other() -> None:
    transforms, first = fitted(), np.array([True, False])
    known = transforms.side(Side.ITEM, {"land": ["a", "b"], "x": np.array([5, 24])}, 2)
    no_number, no_land = (transforms.without(known, [hidden], first) for hidden in (X, LAND))
    assert (no_number.codes.tolist(), no_number.numbers.tolist()) == ([[1], [2]], [[0], [1]])
    assert (no_land.codes.tolist(), no_land.numbers.tolist()) == ([[0], [2]], [[1], [1]])


ROWS = st.tuples(st.sampled_from([None, "a", "b", "c", "far"]), st.one_of(st.just(math.nan), st.floats(-1e9, 1e9)))


@given(st.lists(ROWS, min_size=1, max_size=8))
def test_a_catalogue_is_encoded_as_its_items_are(rows: list[tuple[str | None, float]]) -> None:
    lands, numbers = zip(*rows, strict=True)
    whole = fitted().side(Side.ITEM, {"land": lands, "x": np.array(numbers)}, len(rows))
    for place, (land, number) in enumerate(rows):
        alone = fitted().side(Side.ITEM, {"land": [land], "x": np.array([number])}, 1)
        np.testing.assert_array_equal(whole.numbers[place], alone.numbers[0])


def test_saved_and_opened(tmp_path: Path) -> None:
    transforms = fitted(fit=FIT.model_copy(update={"means": (10, 1 / 3, 20, 10)}))
    transforms.save(tmp_path)
    assert FittedTransforms.open(tmp_path) == transforms


def write_fit(folder: Path, name: str, **values: Any) -> None:
    """Changes the statistics of a feature in a file; None takes a value out."""
    file = folder / "transforms.json"
    content = json.loads(file.read_text())
    changed = {**content["numbers"][name], **values}
    content["numbers"][name] = {key: value for key, value in changed.items() if value is not None}
    file.write_text(json.dumps(content))


def test_damaged_statistics_are_refused(tmp_path: Path) -> None:
    fitted().save(tmp_path)
    write_fit(tmp_path, "x", stds=[5, 2, 4])
    with pytest.raises(
        ValueError, match=r"x has 4 means and 3 standard deviations of .*; expected 4 of each, since wit"
    ):
        FittedTransforms.open(tmp_path)
    write_fit(tmp_path, "x", stds=[5, 2, 4, 0])
    with pytest.raises(ValidationError, match=r"x\.stds\.3\n.*greater than 0"):
        FittedTransforms.open(tmp_path)
    with pytest.raises(ValueError, match=r"x has 4 means and 4 standard .*; expected 0 of each, since within=None"):
        fitted(item("x", "numeric"))


def test_statistics_from_before_there_were_categories_open(tmp_path: Path) -> None:
    transforms = tiny_transforms()
    transforms.save(tmp_path)
    for name in transforms.numbers:
        write_fit(tmp_path, name, means=None, stds=None)
    assert FittedTransforms.open(tmp_path) == transforms
