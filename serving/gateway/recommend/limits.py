"""Filters and excluded items of requests: names to codes, checked, and gathered for a batch."""

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
from contracts.options import Constraints, Ragged
from contracts.vocabulary import Vocabulary
from recommender_api.requests import Filters, NumberRange, RankingRequest, RecommendationRequest

_MAX_LISTED: Final = 50
_MAX_COMPARED: Final = 100
"""Comparing takes the event loop's time: a tenth of a millisecond for ten values."""
_NO_FILTERS: Final = Filters()


_ANY: Final = (-np.inf, np.inf)


class Limits(NamedTuple):
    """What one request limits itself to; as `Constraints` has it for many."""

    excluded: IntArray
    codes: dict[str, list[int]]
    ranges: dict[str, tuple[float, float]]

    @property
    def has_filters(self) -> bool:
        """Whether more than a list of excluded items was given."""
        return bool(self.codes or self.ranges)


class LimitReader:
    """Reads the limits of requests against the catalogue of a bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._legal = [feature.column_name for feature in bundle.schema.filters]

    def __call__(self, request: RecommendationRequest | RankingRequest) -> Limits | None:
        """The limits of a request, None without any.

        Raises:
            RequestError: a filter that the shop does not have, a name that the catalogue does not have, or a price
                range that holds nothing.
        """
        if request.filters is None and not request.exclude:
            return None
        filters = cast(Filters, request.filters or _NO_FILTERS)
        given = {name: value for name in filters.__struct_fields__ if (value := getattr(filters, name)) is not None}
        prices = NumberRange(given.pop("min_price", None), given.pop("max_price", None))
        ranges = {name: _bounds(name, value) for name, value in given.items() if isinstance(value, NumberRange)}
        if prices != NumberRange():
            both = (_bounds(c.PRICE, prices, "min_price", "max_price"), ranges.get(c.PRICE, _ANY))
            ranges[c.PRICE] = max(low for low, _ in both), min(high for _, high in both)
        codes = {name: self._codes(name, value) for name, value in given.items() if isinstance(value, list)}
        rows = self._bundle.rows_of(request.exclude)
        self._check((*codes, *ranges))
        return Limits(rows[rows >= 0], codes, ranges)

    def _check(self, columns: Sequence[str]) -> None:
        for column in columns:
            if column not in self._legal:
                legal = ", ".join(self._legal) or "none"
                raise RequestError(f"filters: this shop's items cannot be filtered by {column}; legal: {legal}")

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


def gather_limits(limits: Sequence[Limits | None]) -> Constraints | None:
    """The limits of a batch's requests; None where no request has any."""
    limited = [(place, one) for place, one in enumerate(limits) if one is not None]
    if not limited:
        return None
    places, some = zip(*limited, strict=True)
    return Constraints(
        requests=np.array(places, dtype=np.int32),
        excluded=Ragged.of([one.excluded for one in some]),
        codes={
            column: Ragged.of([one.codes.get(column, ()) for one in some])
            for column in sorted({column for one in some for column in one.codes})
        },
        ranges={
            column: np.array([one.ranges.get(column, (-np.inf, np.inf)) for one in some], dtype=np.float64)
            for column in sorted({column for one in some for column in one.ranges})
        },
    )


def _bounds(
    column: str, numbers: NumberRange, lowest: str | None = None, highest: str | None = None
) -> tuple[float, float]:
    """Lowest and highest number of a range; the names of both in messages.

    Raises:
        RequestError: the range holds nothing.
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
    if not vocabulary.is_small:  # the event loop has no time to go through them
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
