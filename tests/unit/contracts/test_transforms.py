"""Raw values to model inputs, by hand: every kind of feature and every encoding."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.encoders import NumberFit, hashed
from contracts.errors import ConfigError
from contracts.feature import Feature, Side
from contracts.presets import SHOP
from contracts.schema import FeatureSchema
from contracts.transforms import FittedTransforms, vocabulary_names
from contracts.vocabulary import SMALL, Vocabulary
from tests.fixtures.tiny_bundle import tiny_transforms


def feature(name: str, kind: str, **values: Any) -> Feature:
    return Feature.model_validate({"name": name, "side": "query", "kind": kind, **values})


def fitted(*features: Feature, timezone: str = "UTC", **numbers: NumberFit) -> FittedTransforms:
    """Transforms whose vocabularies are all a, b, c."""
    schema = FeatureSchema(features)
    vocabularies = {name: Vocabulary(("a", "b", "c")) for name in vocabulary_names(schema)}
    numeric = (one.name for one in features if one.kind == "numeric")
    return FittedTransforms(schema, vocabularies, {n: NumberFit() for n in numeric} | numbers, timezone)


def number(values: list[float], fit: NumberFit | None = None, **encode: Any) -> list[Any]:
    return fitted(feature("x", "numeric", encode=encode), x=fit or NumberFit()).encode("x", np.array(values)).tolist()


def test_categories_are_looked_up() -> None:
    transforms = fitted(feature("land", "categorical"), feature("home", "categorical", encode={"share": "land"}))
    for name in ("land", "home"):
        codes = transforms.encode(name, ["b", None, "x", "a"])
        assert (codes.tolist(), codes.dtype) == ([2, 0, 0, 1], np.int32)
        assert transforms.cardinality(name) == 4
    assert set(transforms.vocabularies) == {"land"}


def test_hashed_categories() -> None:
    transforms = fitted(feature("land", "categorical", encode={"buckets": 10}))
    codes = transforms.encode("land", ["a", None, "b", "c", "a"])
    assert (codes.tolist(), codes.dtype) == ([9, 0, 9, 6, 9], np.int32)  # they never change: weights depend on them
    assert transforms.cardinality("land") == 11
    many = hashed([f"t{value}" for value in range(1_000)], 10)
    assert set(many.tolist()) == set(range(1, 11))
    assert np.bincount(many).max() < 150


def test_lists_are_cut_and_padded() -> None:
    encode = {"max_length": 3}
    transforms = fitted(feature("tags", "categories", encode=encode))
    lists = [["b", "x", "a", "c"], [], None, ["c"]]
    expected = [[2, 0, 1], [-1, -1, -1], [-1, -1, -1], [3, -1, -1]]
    for given_lists in (lists, np.array([None if one is None else np.array(one) for one in lists], dtype=object)):
        codes = transforms.encode("tags", given_lists)
        assert (codes.tolist(), codes.dtype) == (expected, np.int32)
    assert transforms.encode("tags", np.array([["a", "b"], ["c", "x"]])).tolist() == [[1, 2, -1], [3, 0, -1]]
    assert transforms.encode("tags", []).shape == (0, 3)
    by_hash = fitted(feature("tags", "categories", encode={"buckets": 10, "max_length": 2}))
    assert by_hash.encode("tags", [["a"], None]).tolist() == [[9, -1], [-1, -1]]


def test_a_large_vocabulary_takes_strings_of_numpy() -> None:
    schema = FeatureSchema((feature("land", "categorical"),))
    large = Vocabulary([f"t{value:05}" for value in range(SMALL + 1)])
    transforms = FittedTransforms(schema, {"land": large}, {}, "UTC")
    assert transforms.encode("land", np.array(["t00006", "x"])).tolist() == [7, 0]


def test_numbers_are_filled_and_standardised() -> None:
    fit = NumberFit(fill=5.0, mean=3.0, std=2.0)
    assert number([1.0, math.nan, 7.0], fit) == [[-1.0], [1.0], [2.0]]
    assert number([1.0, math.nan, 7.0], fit, standardise=False) == [[1.0], [5.0], [7.0]]
    assert number([1.0, math.nan], fit, missing_flag=True) == [[-1.0, 0.0], [1.0, 1.0]]
    transforms = fitted(feature("x", "numeric"))
    assert transforms.encode("x", np.array([1.0])).dtype == np.float32


def test_numbers_are_clipped() -> None:
    plain = {"standardise": False}
    assert number([-5.0, 0.5, 9.0, math.nan], clip=(0, 1), **plain) == [[0.0], [0.5], [1.0], [0.0]]
    assert number([-5.0, 9.0], clip=(None, 1), **plain) == [[-5.0], [1.0]]
    assert number([-5.0, 9.0], clip=(0, None), **plain) == [[0.0], [9.0]]


def test_a_number_far_beyond_those_of_training_stays_small() -> None:
    fit = NumberFit(mean=1.0, std=1e-3)
    assert number([9e15, -9e15, 1.0], fit) == [[1e6], [-1e6], [0.0]]
    assert number([9e15], fit, standardise=False) == [[pytest.approx(9e15)]]


def test_logarithms() -> None:
    values = number([math.e, 1.0, 0.0, -4.0, math.nan], NumberFit(fill=7.0), log="natural", standardise=False)
    assert values == [[1.0], [0.0], [7.0], [7.0], [7.0]]
    signed = number([math.e - 1, 0.0, 1 - math.e, math.nan], NumberFit(fill=7.0), log="signed", standardise=False)
    assert np.array(signed) == pytest.approx(np.array([[1.0], [0.0], [-1.0], [7.0]]))
    clipped_first = number([100.0], clip=(None, math.e), log="natural", standardise=False)
    assert clipped_first == [[1.0]]


def test_an_edge_belongs_to_the_upper_bin_and_zero_is_for_the_missing() -> None:
    transforms = fitted(feature("x", "numeric", encode={"bins": (18, 25)}), x=NumberFit(edges=(18, 25)))
    codes = transforms.encode("x", np.array([17.9, 18, 24.9, 25, math.inf, math.nan]))
    assert (codes.tolist(), codes.dtype) == ([1, 2, 2, 3, 3, 0], np.int32)
    assert transforms.cardinality("x") == 4


def test_cyclic_numbers_are_on_the_circle() -> None:
    transforms = fitted(feature("month", "cyclic", encode={"period": 12}))
    points = transforms.encode("month", np.array([0, 3, 6, 15, math.nan]))
    expected = np.array([[0, 1], [1, 0], [0, -1], [1, 0], [0, 0]])
    assert points == pytest.approx(expected, abs=1e-6)
    assert points.dtype == np.float32


def test_hour_and_weekday_are_the_shops() -> None:
    times = {"timestamp": np.array([5 * 3_600])}  # 1970-01-01, a Thursday, weekday 3; in Berlin it is 6 o'clock
    derived = [feature(name, "cyclic", source="derived") for name in ("hour", "weekday")]
    columns = fitted(*derived, timezone="Europe/Berlin").side(Side.QUERY, times, 1)
    hour_sin, hour_cos, day_sin, day_cos = columns.numbers[0].tolist()
    assert (hour_sin, hour_cos) == pytest.approx((1.0, 0.0), abs=1e-7)
    assert (day_sin, day_cos) == pytest.approx((math.sin(6 * math.pi / 7), math.cos(6 * math.pi / 7)))


def test_vectors_are_as_they_are() -> None:
    transforms = fitted(feature("style", "vector", length=2))
    vectors = transforms.encode("style", [[1, 2], [3, 4]])
    assert (vectors.tolist(), vectors.dtype) == ([[1, 2], [3, 4]], np.float32)


ALL = (
    feature("land", "categorical", source="context"),
    feature("town", "categorical", encode={"buckets": 10}),
    feature("tags", "categories", encode={"max_length": 2}),
    feature("weight", "numeric", encode={"fill": 5, "missing_flag": True}),
    feature("size", "numeric", encode={"bins": (1, 2)}),
    feature("month", "cyclic", encode={"period": 12}),
    feature("hour", "cyclic", source="derived", mask="visitor"),
    feature("style", "vector", length=2),
)
WEIGHT, SIZE = NumberFit(fill=5.0, mean=3.0, std=2.0), NumberFit(edges=(1, 2))
KNOWN = {
    "land": ["a", "b"],
    "town": ["a", "b"],
    "tags": [["a", "b"], ["c"]],
    "weight": np.array([3.0, 1.0]),
    "size": np.array([1.5, 3.0]),
    "month": np.array([3.0, 6.0]),
    "timestamp": np.array([6 * 3_600, 0]),
    "style": np.array([[1.0, 2.0], [3.0, 4.0]]),
}


def test_a_side_in_the_order_of_its_layout() -> None:
    transforms = fitted(*ALL, weight=WEIGHT, size=SIZE)
    columns = transforms.side(Side.QUERY, KNOWN, 2)
    assert columns.digest == transforms.schema.digest
    assert columns.codes.tolist() == [[1, 9, 2], [2, 9, 3]]
    assert columns.numbers == pytest.approx(np.array([[0, 0, 1, 0, 1, 0], [-1, 0, 0, -1, 0, 1]]), abs=1e-6)
    assert columns.lists[0].tolist() == [[1, 2], [3, -1]]
    assert columns.vectors[0].tolist() == [[1, 2], [3, 4]]


def test_columns_that_are_not_there_are_missing() -> None:
    columns = fitted(*ALL, weight=WEIGHT, size=SIZE).side(Side.QUERY, {}, 2)
    assert columns.codes.tolist() == [[0, 0, 0]] * 2
    assert columns.numbers.tolist() == [[1, 1, 0, 0, 0, 0]] * 2  # the fill, and that it is one
    assert columns.lists[0].tolist() == [[-1, -1]] * 2
    assert columns.vectors[0].tolist() == [[0, 0]] * 2


def test_a_side_without_features() -> None:
    for side in (Side.ITEM, Side.PAIR):
        columns = fitted(*ALL).side(side, {}, 3)
        assert (columns.codes.shape, columns.numbers.shape) == ((3, 0), (3, 0))
        assert columns.lists == columns.vectors == ()


@pytest.mark.parametrize("hidden", [ALL, ALL[:1], ALL[2:4], ALL[5:7], ()])
def test_without_is_as_if_nothing_were_known(hidden: tuple[Feature, ...]) -> None:
    transforms = fitted(*ALL, weight=WEIGHT, size=SIZE)
    known = transforms.side(Side.QUERY, KNOWN, 2)
    names = {"timestamp" if one.name == "hour" else one.name for one in hidden}
    expected = transforms.side(Side.QUERY, {name: values for name, values in KNOWN.items() if name not in names}, 2)

    found = transforms.without(known, hidden, np.array([False, True]))

    for row, rows_of in ((0, known), (1, expected)):
        for one, other in zip(arrays(found), arrays(rows_of), strict=True):
            np.testing.assert_array_equal(one[row], other[row])
    assert transforms.without(known, hidden, np.array([False, False])) is known


def arrays(columns: Any) -> tuple[np.ndarray[Any, Any], ...]:
    return (columns.codes, columns.numbers, *columns.lists, *columns.vectors)


VALUES = st.sampled_from([None, "a", "b", "c", "unknown"])
NUMBERS = st.one_of(st.just(math.nan), st.floats(-1e6, 1e6))
ROW = st.fixed_dictionaries(
    {
        "land": VALUES,
        "town": VALUES,
        "tags": st.one_of(st.none(), st.lists(st.sampled_from(["a", "b", "x"]), max_size=4)),
        "weight": NUMBERS,
        "size": NUMBERS,
        "month": NUMBERS,
        "timestamp": st.integers(0, 2_000_000_000),
        "style": st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=2),
    }
)


@given(st.lists(ROW, min_size=1, max_size=6))
def test_a_batch_is_encoded_as_its_rows_are(rows: list[dict[str, Any]]) -> None:
    transforms = fitted(*ALL, weight=WEIGHT, size=SIZE)
    whole = transforms.side(Side.QUERY, {name: [row[name] for row in rows] for name in KNOWN}, len(rows))
    for place, row in enumerate(rows):
        alone = transforms.side(Side.QUERY, {name: [value] for name, value in row.items()}, 1)
        for one, other in zip(arrays(whole.take(np.array([place]))), arrays(alone), strict=True):
            np.testing.assert_array_equal(one, other)


def test_saved_and_opened(tmp_path: Path) -> None:
    transforms = fitted(*ALL, timezone="Europe/Berlin", weight=NumberFit(fill=5.0, mean=1 / 3, std=math.pi), size=SIZE)
    transforms.save(tmp_path)
    again = FittedTransforms.open(tmp_path)
    assert again == transforms
    assert again.numbers["weight"].mean == 1 / 3
    assert again.schema.digest == transforms.schema.digest


def change(name: str, do: Callable[[Any], Any]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        values = json.loads((folder / name).read_text())
        do(values)
        (folder / name).write_text(json.dumps(values))

    return rewrite


@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        (lambda folder: (folder / "schema.json").write_text("[{"), ValueError, "Expecting"),
        (lambda folder: (folder / "schema.json").unlink(), OSError, "schema.json"),
        (lambda folder: (folder / "transforms.json").write_text("[]"), ValueError, "_Fitted"),
        (change("transforms.json", lambda values: values["numbers"].pop("age_norm")), ValueError, "the numbers are of"),
        (change("transforms.json", lambda values: values.update(timezone="Mars")), ConfigError, "unknown timezone"),
        (change("transforms.json", lambda v: v["numbers"]["age_norm"].update(std=0)), ValueError, "greater than 0"),
        (
            change("transforms.json", lambda v: v["numbers"]["age_norm"].update(edges=[1, 1])),
            ValueError,
            "not ascending",
        ),
        (change("schema.json", lambda values: values[0].update(name="reader")), ValueError, "vocabulary .*reader'"),
        (
            lambda folder: (folder / "vocabularies/gender.data.npy").write_bytes(b"x"),
            ValueError,
            "vocabulary .*gender'",
        ),
    ],
)
def test_a_damaged_file_is_refused(
    tmp_path: Path, damage: Callable[[Path], Any], error: type[Exception], says: str
) -> None:
    tiny_transforms().save(tmp_path)
    damage(tmp_path)
    with pytest.raises(error, match=says):
        FittedTransforms.open(tmp_path)


def test_what_the_schema_needs_has_to_be_there() -> None:
    whole = tiny_transforms()
    without_users = {name: words for name, words in whole.vocabularies.items() if name != "user_id"}
    with pytest.raises(ValueError, match=r"the vocabularies are of .*, the schema has .*'user_id'"):
        FittedTransforms(SHOP, without_users, whole.numbers, "UTC")
    with pytest.raises(ValueError, match=r"the numbers are of \[\], the schema has \['age_binned', 'age_norm', 'price"):
        FittedTransforms(SHOP, whole.vocabularies, {}, "UTC")
    assert vocabulary_names(FeatureSchema((feature("land", "categorical"),))) == ("land",)
