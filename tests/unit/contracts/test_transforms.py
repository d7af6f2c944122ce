from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from contracts.transforms import VOCABULARIES, FittedTransforms, query_arrays
from contracts.vocabulary import Vocabulary


def transforms(**changes: object) -> FittedTransforms:
    vocabularies = {name: Vocabulary(("a", "b")) for name in VOCABULARIES}
    values: dict[str, object] = {
        "vocabularies": vocabularies,
        "default_age": 40.0,
        "age_mean": 30.0,
        "age_std": 10.0,
        "price_log_mean": 1.0,
        "price_log_std": 2.0,
        "timezone": "UTC",
    }
    return FittedTransforms(**(values | changes))  # type: ignore[arg-type]


def test_age_is_standardised_and_binned_with_a_bin_for_the_unknown() -> None:
    norm, bins = transforms().age(np.array([17.9, 18, 24, 35, 64, 65, 90, np.nan]))
    assert norm.dtype == np.float32
    assert norm.tolist() == pytest.approx([-1.21, -1.2, -0.6, 0.5, 3.4, 3.5, 6.0, 1.0])
    assert bins.tolist() == [1, 2, 2, 4, 5, 6, 6, 0]


def test_price_is_log_standardised_and_the_missing_is_the_mean() -> None:
    prices = np.array([math.e, math.e**3, np.nan, 0.0, -4.0])
    assert transforms().price(prices).tolist() == pytest.approx([0.0, 1.0, 0.0, 0.0, 0.0])


def test_context_is_on_the_circle() -> None:
    six_on_thursday = np.array([6 * 3600])  # 1970-01-01 was a Thursday, weekday 3
    hour_sin, hour_cos, day_sin, day_cos = transforms().context(six_on_thursday)[0].tolist()
    assert (hour_sin, hour_cos) == pytest.approx((1.0, 0.0), abs=1e-7)
    assert (day_sin, day_cos) == pytest.approx((math.sin(6 * math.pi / 7), math.cos(6 * math.pi / 7)))


def test_both_top_categories_share_the_vocabulary_of_the_items() -> None:
    fitted = transforms()
    assert fitted.cardinality("top_category_long") == fitted.cardinality("category_l1") == 3
    assert fitted.cardinality("age_binned") == 7
    assert fitted.encode("top_category", ["b", None, "x"]).tolist() == [2, 0, 0]


def test_json_round_trip_is_exact() -> None:
    fitted = transforms(age_mean=1 / 3, timezone="Europe/Berlin")
    again = FittedTransforms.from_json(fitted.to_json())
    assert again.to_json() == fitted.to_json()
    assert again.age_mean == fitted.age_mean
    assert again.vocabularies == fitted.vocabularies


def test_query_arrays_are_in_the_stated_order() -> None:
    ones = np.ones(1, dtype=np.int32)
    categorical, continuous = query_arrays(
        transforms(),
        user_codes=ones,
        gender_codes=2 * ones,
        ages=np.array([20.0]),
        top_category=4 * ones,
        top_category_long=5 * ones,
        device_codes=6 * ones,
        context_time=np.array([0]),
    )
    assert categorical.tolist() == [[1, 2, 2, 4, 5, 6]]
    assert categorical.dtype == np.int32
    assert continuous[0, :3].tolist() == pytest.approx([-1.0, 0.0, 1.0])
    assert continuous.shape == (1, 5)


def test_impossible_statistics_are_refused() -> None:
    with pytest.raises(ValueError, match="age_std is 0"):
        transforms(age_std=0)
    fitted = transforms()
    without_users = {name: words for name, words in fitted.vocabularies.items() if name != "user_id"}
    with pytest.raises(ValueError, match=r"no vocabulary for \['user_id'\]"):
        replace(fitted, vocabularies=without_users)
