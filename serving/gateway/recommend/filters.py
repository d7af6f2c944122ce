"""Filters of requests, exclude lists among them: checked, encoded and gathered for a batch."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final, NamedTuple, cast

import numpy as np

from contracts import columns as c
from contracts.bundle import Bundle
from contracts.errors import RequestError
from contracts.ids import IntArray
from contracts.item_values import Categories
from contracts.options import ItemFilters, Ragged
from contracts.vocabulary import Vocabulary
from recommender_api.requests import Filters, NumberRange, RankingRequest, RecommendationRequest
from serving.gateway.shop.filters import check_filters, legal_filters

_MAX_LISTED: Final = 50
_MAX_COMPARED: Final = 100
"""Comparing blocks the event loop: ten values take a tenth of a millisecond."""
_NO_FILTERS: Final = Filters()
_ANY: Final = (-np.inf, np.inf)


class RequestFilters(NamedTuple):
    """The filters of one request; `ItemFilters` holds those of a batch."""

    excluded: IntArray
    codes: dict[str, list[int]]
    ranges: dict[str, tuple[float, float]]

    @property
    def has_columns(self) -> bool:
        """Whether it filters by a column; an exclude list alone does not."""
        return bool(self.codes or self.ranges)


class FilterReader:
    """Reads the filters of requests and checks them against the catalogue of a bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._legal = legal_filters(bundle)

    def __call__(self, request: RecommendationRequest | RankingRequest) -> RequestFilters | None:
        """The filters of a request; None if it has none.

        Raises:
            RequestError: the shop has no such filter, the catalogue has no such name, or a range is empty.
        """
        if request.filters is None and not request.exclude:
            return None
        filters = cast(Filters, request.filters or _NO_FILTERS)
        values = {name: value for name in filters.__struct_fields__ if (value := getattr(filters, name)) is not None}
        prices = NumberRange(values.pop("min_price", None), values.pop("max_price", None))
        ranges = {name: _bounds(name, value) for name, value in values.items() if isinstance(value, NumberRange)}
        if prices != NumberRange():
            both = (_bounds(c.PRICE, prices, "min_price", "max_price"), ranges.get(c.PRICE, _ANY))
            ranges[c.PRICE] = max(low for low, _ in both), min(high for _, high in both)
        named = {name: value for name, value in values.items() if isinstance(value, list)}
        check_filters((*named, *ranges), self._legal)
        codes = {name: self._codes(name, value) for name, value in named.items()}
        rows = self._bundle.rows_of(request.exclude)
        return RequestFilters(rows[rows >= 0], codes, ranges)

    def _codes(self, column: str, names: Sequence[str]) -> list[int]:
        values = self._bundle.values.get(column)
        vocabulary = values.vocabulary if isinstance(values, Categories) else Vocabulary(())
        codes = []
        for name in map(c.category_text, names):
            code = vocabulary.encode_one(name)
            if code == 0:
                raise _unknown(column, name, vocabulary)
            codes.append(code)
        return codes


def gather_filters(filters: Sequence[RequestFilters | None]) -> ItemFilters | None:
    """The filters of a batch; None if no request has any."""
    filtered = [(place, one) for place, one in enumerate(filters) if one is not None]
    if not filtered:
        return None
    places, some = zip(*filtered, strict=True)
    return ItemFilters(
        requests=np.array(places, dtype=np.int32),
        excluded=Ragged.of([one.excluded for one in some]),
        codes={
            column: Ragged.of([one.codes.get(column, ()) for one in some])
            for column in sorted({column for one in some for column in one.codes})
        },
        ranges={
            column: np.array([one.ranges.get(column, _ANY) for one in some], dtype=np.float64)
            for column in sorted({column for one in some for column in one.ranges})
        },
    )


def _bounds(
    column: str, numbers: NumberRange, lowest: str | None = None, highest: str | None = None
) -> tuple[float, float]:
    """Lowest and highest number of a range; error messages use the names `lowest` and `highest`.

    Raises:
        RequestError: the range is empty.
    """
    low, high = _ANY[0] if numbers.min is None else numbers.min, _ANY[1] if numbers.max is None else numbers.max
    if low > high:
        names = lowest or f"{column}.min", highest or f"{column}.max"
        raise RequestError(f"filters.{names[0]}={low} is above filters.{names[1]}={high}; swap them")
    return low, high


def _unknown(field: str, value: str, vocabulary: Vocabulary) -> RequestError:
    tokens = vocabulary.tokens
    if len(tokens) <= _MAX_LISTED:
        return RequestError(
            f"filters.{field}: no item has {value!r}; legal values: {', '.join(tokens)}", field=field, legal=tokens
        )
    if not vocabulary.is_small:  # comparing them all would block the event loop
        return RequestError(
            f"filters.{field}: no item has {value!r}, which is none of {len(tokens)} values", field=field, near=[]
        )
    alike = [token for token in tokens if token[:1].casefold() == value[:1].casefold()]
    near = get_close_matches(value, alike[:_MAX_COMPARED], n=5)
    return RequestError(
        f"filters.{field}: no item has {value!r}; near ones: {', '.join(near) or 'none'}, of {len(tokens)} values",
        field=field,
        near=near,
    )
