"""Fitted feature transforms: saved as JSON, applied by this one NumPy implementation offline and online."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts import columns as c
from contracts.clock import ShopCalendar
from contracts.errors import ConfigError
from contracts.features import AGE_BINNED, ITEM_GENDER
from contracts.ids import AnyArray, FloatArray, IntArray, LongArray
from contracts.vocabulary import Vocabulary

AGE_EDGES: Final = (18.0, 25.0, 35.0, 50.0, 65.0)
"""Ages at an edge belong to the upper bin."""

VOCABULARIES: Final = (c.USER_ID, c.GENDER, c.DEVICE_TYPE, c.ITEM_ID, c.CATEGORY_L1, c.CATEGORY_L2, ITEM_GENDER)
"""Names of the vocabularies; `top_category` and `top_category_long` share that of `category_l1`."""


@dataclass(frozen=True)
class FittedTransforms:
    """Everything that was learned from data to turn raw values into model inputs.

    Attributes:
        vocabularies: one per name in `VOCABULARIES`; a feature that the shop lacks has an empty one.
        default_age: the interaction-weighted mean age, cut to a whole number; stands in for a missing age.
        age_mean: mean of the training rows' ages.
        age_std: standard deviation of the same, never 0.
        price_log_mean: mean of log(price) over the catalogue.
        price_log_std: standard deviation of the same, never 0.
        timezone: the shop's, IANA.
    """

    vocabularies: dict[str, Vocabulary]
    default_age: float
    age_mean: float
    age_std: float
    price_log_mean: float
    price_log_std: float
    timezone: str

    def __post_init__(self) -> None:
        missing = set(VOCABULARIES) - set(self.vocabularies)
        if missing:
            raise ValueError(f"no vocabulary for {sorted(missing)}; expected one for each of {list(VOCABULARIES)}")
        for name in ("age_std", "price_log_std"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a positive number")
        object.__setattr__(self, "calendar", ShopCalendar(self.timezone))

    calendar: ShopCalendar = None  # type: ignore[assignment]  # derived from `timezone`

    def cardinality(self, feature: str) -> int:
        """Rows of the embedding table of a categorical feature, the OOV row included."""
        if feature == AGE_BINNED:
            return len(AGE_EDGES) + 2
        name = c.CATEGORY_L1 if feature in (c.TOP_CATEGORY, c.TOP_CATEGORY_LONG) else feature
        return self.vocabularies[name].cardinality

    def age(self, ages: NDArray[np.float64]) -> tuple[FloatArray, IntArray]:
        """`age_norm` [n] float32 and `age_binned` [n] int32 of ages in years; NaN = the default age in bin 0 (OOV)."""
        known = ~np.isnan(ages)
        filled = np.where(known, ages, self.default_age)
        norm = (filled - self.age_mean) / self.age_std
        bins = np.digitize(filled, AGE_EDGES) + 1
        return norm.astype(np.float32), np.where(known, bins, 0).astype(np.int32)

    def context(self, timestamps: LongArray) -> FloatArray:
        """Hour and weekday as sines and cosines, shop-local, [n, 4] float32: hour sin, cos, weekday sin, cos."""
        hours = 2 * np.pi * self.calendar.hour(timestamps) / 24
        weekdays = 2 * np.pi * self.calendar.weekday(timestamps) / 7
        parts = [np.sin(hours), np.cos(hours), np.sin(weekdays), np.cos(weekdays)]
        return np.stack(parts, axis=1).astype(np.float32)

    def price(self, prices: NDArray[np.float64]) -> FloatArray:
        """`price_log_norm` [n] float32; a missing (NaN) or non-positive price is 0, the mean."""
        usable = prices > 0
        logs = np.log(np.where(usable, prices, 1.0))
        return np.where(usable, (logs - self.price_log_mean) / self.price_log_std, 0.0).astype(np.float32)

    def encode(self, feature: str, values: Any) -> IntArray:
        """Encoded ids [n] of a categorical feature's raw strings."""
        name = c.CATEGORY_L1 if feature in (c.TOP_CATEGORY, c.TOP_CATEGORY_LONG) else feature
        return self.vocabularies[name].encode(values)

    def to_json(self) -> str:
        """A text that `from_json` turns back into an equal object, exactly."""
        values = {name: getattr(self, name) for name in _SCALARS}
        values["vocabularies"] = {name: list(vocabulary.tokens) for name, vocabulary in self.vocabularies.items()}
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> FittedTransforms:
        """The transforms saved by `to_json`."""
        return cls.from_values(json.loads(text))

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> FittedTransforms:
        """The transforms of a parsed JSON text, which may come from outside.

        Raises:
            ValueError: a value is missing, unknown, of a wrong type or none that can be used.
        """
        if set(values) != {"vocabularies", *_SCALARS}:
            raise ValueError(f"it has {sorted(values)}, expected {sorted({'vocabularies', *_SCALARS})}")
        for name in _SCALARS:
            value, kind = values[name], str if name == "timezone" else (int, float)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ValueError(
                    f"{name} is a {type(value).__name__}, expected {'text' if kind is str else 'a number'}"
                )
        lists = values["vocabularies"]
        if not isinstance(lists, dict) or not all(isinstance(tokens, list) for tokens in lists.values()):
            raise ValueError("vocabularies hold something else than lists of tokens by name")
        for name, tokens in lists.items():
            if not all(isinstance(token, str) for token in tokens):
                raise ValueError(f"the vocabulary {name!r} holds something else than texts")
        try:
            vocabularies = {name: Vocabulary(tuple(tokens)) for name, tokens in lists.items()}
            return cls(vocabularies=vocabularies, **{name: values[name] for name in _SCALARS})
        except ConfigError as error:
            raise ValueError(error.message) from None


_SCALARS: Final = ("default_age", "age_mean", "age_std", "price_log_mean", "price_log_std", "timezone")


def query_arrays(
    transforms: FittedTransforms,
    *,
    user_codes: IntArray,
    gender_codes: IntArray,
    ages: NDArray[np.float64],
    top_category: IntArray,
    top_category_long: IntArray,
    device_codes: IntArray,
    context_time: LongArray,
) -> tuple[IntArray, FloatArray]:
    """The query's `categorical` [B, 6] and `continuous` [B, 5] in the order of `contracts.features`.

    Codes are encoded ids [B], ages are years (NaN = not known), `context_time` is Unix seconds [B].
    """
    age_norm, age_binned = transforms.age(ages)
    return stack_query(
        user_codes=user_codes,
        gender_codes=gender_codes,
        age_norm=age_norm,
        age_binned=age_binned,
        top_category=top_category,
        top_category_long=top_category_long,
        device_codes=device_codes,
        cyclic=transforms.context(context_time),
    )


def stack_query(
    *,
    user_codes: IntArray,
    gender_codes: IntArray,
    age_norm: FloatArray,
    age_binned: IntArray,
    top_category: IntArray,
    top_category_long: IntArray,
    device_codes: IntArray,
    cyclic: FloatArray,
) -> tuple[IntArray, FloatArray]:
    """As `query_arrays`, of values that are transformed already; `cyclic` is hour and weekday [B, 4]."""
    codes: list[AnyArray] = [user_codes, gender_codes, age_binned, top_category, top_category_long, device_codes]
    return np.stack(codes, axis=1).astype(np.int32), np.concatenate([age_norm[:, None], cyclic], axis=1)
