from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from training.features.fit import fit_transforms
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
    {"train_user_rows": [0, 1], "train_user_events": [3, 1], "train_item_rows": [0, 2], "train_devices": ["tv", "app"]},
    {"train_user_rows": [2], "train_user_events": [9], "train_item_rows": [2], "train_devices": ["app"]},
)


def test_vocabularies_are_of_training_users_and_of_the_whole_catalogue() -> None:
    vocabularies = fit_transforms(statistics(*PARTS), USERS, ITEMS, "UTC").vocabularies
    tokens = {name: vocabulary.tokens for name, vocabulary in vocabularies.items()}
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
    fitted = fit_transforms(statistics(*PARTS), USERS, ITEMS, "UTC")
    assert fitted.age_mean == pytest.approx((3 * 20 + 50) / 4)  # 27.5; u3 told no age, u4 has no training row
    assert fitted.age_std == pytest.approx(np.sqrt((3 * 7.5**2 + 22.5**2) / 4))
    assert fitted.default_age == 27.0


def test_prices_are_of_the_whole_catalogue() -> None:
    fitted = fit_transforms(statistics(*PARTS), USERS, ITEMS, "UTC")
    assert (fitted.price_log_mean, fitted.price_log_std) == pytest.approx((1.0, 1.0))


def test_a_shop_without_ages_and_prices() -> None:
    users = table(user_id=["u1"], age=[None], gender=[None])
    items = table(item_id=["i1"], category_l1=[None], category_l2=[None], gender=[None], price=[None])
    part = {"train_user_rows": [0], "train_user_events": [1], "train_item_rows": [0]}
    fitted = fit_transforms(statistics(part), users, items, "UTC")
    assert (fitted.default_age, fitted.age_mean, fitted.age_std) == (0.0, 0.0, 1.0)
    assert (fitted.price_log_mean, fitted.price_log_std) == (0.0, 1.0)
    assert fitted.cardinality("gender") == 1


def test_one_age_and_one_price_do_not_divide_by_zero() -> None:
    users, items = USERS.slice(0, 1), ITEMS.slice(1, 1)
    part = {"train_user_rows": [0], "train_user_events": [4], "train_item_rows": [0]}
    fitted = fit_transforms(statistics(part), users, items, "UTC")
    assert (fitted.age_std, fitted.price_log_std) == (1.0, 1.0)
