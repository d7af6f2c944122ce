from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contracts.encoders import NumberFit
from contracts.feature import Feature, Side
from contracts.presets import SHOP
from contracts.schema import FeatureSchema
from contracts.transforms import FittedTransforms
from training.features.fit import Fitted, Observed, context_values, fit_features, fit_transforms
from training.features.partition import STATISTICS


def statistics(*parts: dict[str, Any]) -> pa.Table:
    rows = []
    for part in parts:
        empty = {name: [] if pa.types.is_list(STATISTICS.field(name).type) else 0 for name in STATISTICS.names}
        rows.append({**empty, **part})
    return pa.Table.from_pylist(rows, schema=STATISTICS)


def table(**columns: list[Any]) -> pa.Table:
    types = {"age": pa.float64(), "price": pa.float64()}
    return pa.table({name: pa.array(values, types.get(name, pa.string())) for name, values in columns.items()})


USERS = table(user_id=["u2", "u1", "u3", "u4"], age=[20.0, 50.0, None, 90.0], gender=["M", "F", "X", "Y"])
ITEMS = table(
    item_id=["i9", "i1", "i5"],
    category_l1=["b", "a", None],
    category_l2=[None, None, None],
    gender=["Any", "F", "Any"],
    price=[1.0, np.e**2, None],
)
PARTS = (
    {"train_user_rows": [0, 1], "train_user_events": [3, 1], "known_item_rows": [0, 2]},
    {"train_user_rows": [2], "train_user_events": [9], "known_item_rows": [2]},
)


def feature(name: str, kind: str, **values: Any) -> Feature:
    return Feature.model_validate({"name": name, "side": "query", "kind": kind, **values})


def fit_one(one: Feature, values: pa.Array, weights: list[float] | None = None) -> Fitted:
    counts = np.ones(len(values)) if weights is None else np.array(weights, dtype=np.float64)
    return fit_features([one], lambda _: Observed(values, counts))


def shop(*parts: dict[str, Any], users: pa.Table = USERS, items: pa.Table = ITEMS) -> FittedTransforms:
    transforms, left_out = fit_transforms(SHOP, statistics(*parts), users, items, "UTC")
    assert left_out == {}
    return transforms


def context(rows: dict[str, pa.Array], *features: Feature, **options: Any) -> pa.StructArray:
    return context_values(features, pa.table(rows), **options)


def test_vocabularies_are_of_training_users_and_of_the_whole_catalogue() -> None:
    device = feature("device_type", "categorical", source="context")
    devices = [
        context({"device_type": pa.array(names)}, device).to_pylist() for names in (["tv", "app"], ["app", None])
    ]
    told = [{**part, "train_context": of_part} for part, of_part in zip(PARTS, devices, strict=True)]
    tokens = {name: vocabulary.tokens for name, vocabulary in shop(*told).vocabularies.items()}
    assert tokens == {
        "user_id": ("u1", "u2", "u3"),
        "gender": ("F", "M", "X"),
        "device_type": ("app", "tv"),
        "item_id": ("i5", "i9"),
        "category_l1": ("a", "b"),
        "category_l2": (),
        "item_gender": ("Any", "F"),
    }


def test_ages_are_weighted_by_interactions_and_the_default_is_cut() -> None:
    age = shop(*PARTS).numbers["age_norm"]
    assert age.mean == pytest.approx((3 * 20 + 50) / 4)  # 27.5; u3 told no age, u4 has no training row
    assert age.std == pytest.approx(np.sqrt((3 * 7.5**2 + 22.5**2) / 4))
    assert age.fill == 27.0
    assert shop(*PARTS).numbers["age_binned"].edges == (18, 25, 35, 50, 65)


def test_prices_are_of_the_whole_catalogue() -> None:
    price = shop(*PARTS).numbers["price_log_norm"]
    assert (price.mean, price.std, price.fill) == pytest.approx((1.0, 1.0, 1.0))


def test_a_shop_without_ages_and_prices() -> None:
    users = table(user_id=["u1"], age=[None], gender=[None])
    items = table(item_id=["i1"], category_l1=[None], category_l2=[None], gender=[None], price=[None])
    part = {"train_user_rows": [0], "train_user_events": [1], "known_item_rows": [0]}
    fitted = shop(part, users=users, items=items)
    assert fitted.numbers["age_norm"] == fitted.numbers["price_log_norm"] == NumberFit()
    assert fitted.cardinality("gender") == 1


def test_one_age_and_one_price_do_not_divide_by_zero() -> None:
    part = {"train_user_rows": [0], "train_user_events": [4], "known_item_rows": [0]}
    fitted = shop(part, users=USERS.slice(0, 1), items=ITEMS.slice(1, 1))
    assert (fitted.numbers["age_norm"].std, fitted.numbers["price_log_norm"].std) == (1.0, 1.0)


WORDS = pa.array(["c", "a", "b", "a", None, "d", "b", "c"])


@pytest.mark.parametrize(
    ("encode", "tokens", "left_out"),
    [
        ({}, ("a", "b", "c", "d"), 0),
        ({"min_count": 2}, ("a", "b", "c"), 1),
        ({"max_size": 2}, ("a", "b"), 3),  # a, b and c are there twice: the first names win
        ({"max_size": 3, "min_count": 3}, (), 7),
    ],
)
def test_rare_categories_are_left_out_and_counted(
    encode: dict[str, int], tokens: tuple[str, ...], left_out: int
) -> None:
    found = fit_one(feature("x", "categorical", encode=encode), WORDS)
    assert found.vocabularies["x"].tokens == tokens
    assert found.left_out == ({"x": left_out} if left_out else {})


def test_categories_count_by_weight() -> None:
    found = fit_one(feature("x", "categorical", encode={"min_count": 4}), pa.array(["a", "b", "a"]), [1.5, 9, 2])
    assert (found.vocabularies["x"].tokens, found.left_out) == (("b",), {"x": 4})  # 3.5, to the nearest


def test_every_value_of_a_list_counts_as_its_row() -> None:
    lists = pa.array([["a", "b"], None, [], ["b"], ["c"]])
    found = fit_one(feature("x", "categories", encode={"min_count": 2}), lists, [1, 9, 9, 1, 5])
    assert (found.vocabularies["x"].tokens, found.left_out) == (("b", "c"), {"x": 1})
    sliced = fit_one(feature("x", "categories"), lists[3:])
    assert sliced.vocabularies["x"].tokens == ("b", "c")


def test_hashed_and_shared_features_are_not_fitted() -> None:
    for encode in ({"buckets": 3}, {"share": "y"}):
        assert fit_one(feature("x", "categorical", encode=encode), WORDS) == Fitted({}, {}, {})


@pytest.mark.parametrize(
    ("encode", "fit"),
    [
        ({}, NumberFit(fill=2.5, mean=2.5, std=1.5)),  # 1 counts 2, 4 counts 2
        ({"fill": "whole_mean"}, NumberFit(fill=2.0, mean=2.5, std=1.5)),
        ({"fill": 7}, NumberFit(fill=7.0, mean=2.5, std=1.5)),
        ({"fill": 7, "clip": [2, 3]}, NumberFit(fill=3.0, mean=2.5, std=0.5)),  # what stands in is clipped, too
        ({"bins": [1, 3]}, NumberFit(edges=(1.0, 3.0))),
    ],
)
def test_numbers_by_hand(encode: dict[str, Any], fit: NumberFit) -> None:
    values = pa.array([1.0, 4.0, None, 100.0], pa.float64())
    assert fit_one(feature("x", "numeric", encode=encode), values, [2, 2, 5, 0]).numbers["x"] == fit


def test_logarithms_are_fitted_after_they_are_taken() -> None:
    values = pa.array([np.e, np.e**3, 0.0, -1.0])
    natural = fit_one(feature("x", "numeric", encode={"log": "natural", "fill": np.e**2}), values).numbers["x"]
    assert (natural.mean, natural.std, natural.fill) == pytest.approx((2.0, 1.0, 2.0))
    signed = fit_one(feature("x", "numeric", encode={"log": "signed"}), pa.array([np.e - 1, 1 - np.e])).numbers["x"]
    assert (signed.mean, signed.std) == pytest.approx((0.0, 1.0))


@pytest.mark.parametrize(
    ("bins", "values", "weights", "edges"),
    [
        (2, [4, 1, 3, 2], None, (3,)),  # 1 2 | 3 4
        (4, [4, 1, 3, 2], None, (2, 3, 4)),
        (2, [1, 2, 3], [8, 1, 1], (1,)),  # most are 1: they and all others
        (4, [5, 5, 5, 9], None, (5, 9)),  # equal edges are one
        (10, [7], None, (7,)),
    ],
)
def test_quantile_edges(bins: int, values: list[float], weights: list[float] | None, edges: tuple[float, ...]) -> None:
    found = fit_one(feature("x", "numeric", encode={"bins": bins}), pa.array(values, pa.float64()), weights)
    assert found.numbers["x"].edges == edges


OF_ITEMS = table(
    item_id=[f"i{number}" for number in range(9)],
    kind=["a", "a", "a", "b", "b", "b", "rare", None, "b"],
    price=[np.e, np.e**3, None, 0.1, 0.1, 0.1, np.e**9, np.e**5, 0.0],
)


@pytest.mark.parametrize("encode", [{"min_count": 2}, {"buckets": 50}])
def test_numbers_within_categories_by_hand(encode: dict[str, int]) -> None:
    kind = Feature.model_validate({"name": "kind", "side": "item", "kind": "categorical", "encode": encode})
    values = {"name": "x", "side": "item", "kind": "numeric", "column": "price"}
    within = Feature.model_validate({**values, "encode": {"log": "natural", "within": "kind"}})

    transforms, _ = fit_transforms(FeatureSchema((within, kind)), statistics(*PARTS), USERS, OF_ITEMS, "UTC")

    fit, code = transforms.numbers["x"], transforms.encode("kind", ["a", "b"])
    logs = np.array([1, 3, *[np.log(0.1)] * 3, 9, 5])
    assert (fit.mean, fit.std, fit.fill) == pytest.approx((logs.mean(), logs.std(), logs.mean()))
    assert len(fit.means) == len(fit.stds) == transforms.cardinality("kind")
    assert (fit.means[code[0]], fit.stds[code[0]]) == pytest.approx((2.0, 1.0))
    others = [place for place in range(len(fit.means)) if place != code[0]]  # b has one price, and rare has one item
    assert {(fit.means[place], fit.stds[place]) for place in others} == {(fit.mean, fit.std)}
    of_all = (logs - fit.mean) / fit.std
    raw = {"kind": OF_ITEMS["kind"].to_pylist(), "price": OF_ITEMS["price"].to_numpy()}
    found = transforms.side(Side.ITEM, raw, len(OF_ITEMS)).numbers[:, 0]
    assert found == pytest.approx(np.array([-1, 1, 0, *of_all[2:], 0]))


def test_numbers_within_categories_of_a_shop_without_numbers() -> None:
    kind = Feature.model_validate({"name": "kind", "side": "item", "kind": "categorical"})
    within = {"name": "price", "side": "item", "kind": "numeric", "encode": {"within": "kind"}}
    schema = FeatureSchema((kind, Feature.model_validate(within)))
    items = table(item_id=["i1"], kind=["a"], price=[None])
    fitted = fit_transforms(schema, statistics({"known_item_rows": [0]}), USERS, items, "UTC")[0]
    assert fitted.numbers["price"] == NumberFit(means=(0, 0), stds=(1, 1))


LAND = feature("land", "categorical", source="context")
HEAT = feature("heat", "numeric", source="context", encode={"fill": "mean"})
WORD = feature("words", "categories", source="context", encode={"min_count": 2})


def test_the_context_of_all_partitions_is_one() -> None:
    first = {
        "land": pa.array(["DE", "FR", "DE", None]).dictionary_encode(),
        "heat": pa.array([10.0, None, 20.0, None]),
        "words": pa.array([["a", "b"], None, ["b"], []]),
    }
    second = {"land": pa.array(["AT"]), "heat": pa.array([60.0]), "words": pa.array([["c", "a"]])}
    none = {
        "land": pa.nulls(1, pa.string()),
        "heat": pa.nulls(1, pa.float64()),
        "words": pa.nulls(1, pa.list_(pa.string())),
    }
    parts = [{"train_context": context(rows, LAND, HEAT, WORD).to_pylist()} for rows in (first, second, none)]

    transforms, left_out = fit_transforms(FeatureSchema((LAND, HEAT, WORD)), statistics(*parts), USERS, ITEMS, "UTC")

    assert {name: words.tokens for name, words in transforms.vocabularies.items()} == {
        "land": ("AT", "DE", "FR"),
        "words": ("a", "b"),
    }
    assert left_out == {"words": 1}
    assert transforms.numbers["heat"].mean == 30.0
    assert transforms.numbers["heat"].std == pytest.approx(np.sqrt((20**2 + 10**2 + 30**2) / 3))


def test_many_numbers_are_told_by_their_quantiles() -> None:
    rows = context({"heat": pa.array(np.arange(1_001.0)[::-1])}, HEAT, most=11)
    assert [row["number"] for row in rows.to_pylist()] == [100.0 * number for number in range(11)]
    assert {row["weight"] for row in rows.to_pylist()} == {91.0}  # 1,001 / 11


def test_a_schema_without_items_has_no_item_ids() -> None:
    transforms, _ = fit_transforms(FeatureSchema((LAND,)), statistics(*PARTS), USERS, ITEMS, "UTC")
    assert set(transforms.vocabularies) == {"land"}
    assert transforms.cardinality("land") == 1
