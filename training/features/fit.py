"""Fits the transforms on what the partitions counted."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from contracts import columns as c
from contracts.features import ITEM_GENDER
from contracts.ids import AnyArray
from contracts.transforms import FittedTransforms
from contracts.vocabulary import Vocabulary


def fit_transforms(statistics: pa.Table, users: pa.Table, items: pa.Table, timezone: str) -> FittedTransforms:
    """Fits the transforms: users and context on training positives, items on the whole catalogue.

    Args:
        statistics: a row a partition, of the schema `STATISTICS`.
        users: canonical users by user row.
        items: canonical items by ItemRow.
        timezone: the shop's.
    """
    user_rows = _flat(statistics["train_user_rows"])
    weights = _flat(statistics["train_user_events"])
    trained_users = users.take(pa.array(user_rows))
    ages = trained_users[c.AGE].to_numpy()
    default_age, age_mean, age_std = _age_statistics(ages, weights)
    prices = items[c.PRICE].to_numpy()
    logs = np.log(prices[prices > 0])
    vocabularies = {
        c.USER_ID: Vocabulary.fit(trained_users[c.USER_ID].to_pylist()),
        c.GENDER: Vocabulary.fit(trained_users[c.GENDER].unique().to_pylist()),
        c.DEVICE_TYPE: Vocabulary.fit(_flat(statistics["train_devices"]).tolist()),
        c.ITEM_ID: Vocabulary.fit(
            items[c.ITEM_ID].take(pa.array(np.unique(_flat(statistics["train_item_rows"])))).to_pylist()
        ),
        c.CATEGORY_L1: fit_category(items),
        c.CATEGORY_L2: Vocabulary.fit(items[c.CATEGORY_L2].unique().to_pylist()),
        ITEM_GENDER: Vocabulary.fit(items[c.GENDER].unique().to_pylist()),
    }
    return FittedTransforms(
        vocabularies=vocabularies,
        default_age=default_age,
        age_mean=age_mean,
        age_std=age_std,
        price_log_mean=float(logs.mean()) if len(logs) else 0.0,
        price_log_std=_positive(float(logs.std())) if len(logs) else 1.0,
        timezone=timezone,
    )


def fit_category(items: pa.Table) -> Vocabulary:
    """The vocabulary of category_l1, which the catalogue alone fixes."""
    return Vocabulary.fit(items[c.CATEGORY_L1].unique().to_pylist())


def _age_statistics(ages: AnyArray, weights: AnyArray) -> tuple[float, float, float]:
    """Default age, mean and standard deviation over events, of users who told their age."""
    known = ~np.isnan(ages)
    if not known.any():
        return 0.0, 0.0, 1.0
    mean = float(np.average(ages[known], weights=weights[known]))
    variance = float(np.average((ages[known] - mean) ** 2, weights=weights[known]))
    return float(int(mean)), mean, _positive(variance**0.5)


def _positive(deviation: float) -> float:
    return deviation if deviation > 0 else 1.0


def _flat(lists: pa.ChunkedArray) -> AnyArray:
    values: AnyArray = lists.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values
