"""Filters and excluded items of requests: names to codes, checked, and gathered for a batch."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final, NamedTuple

import numpy as np

from contracts.bundle import Bundle
from contracts.errors import RequestError
from contracts.features import ITEM_CATEGORICALS, ITEM_GENDER
from contracts.ids import IntArray
from contracts.options import Constraints, Ragged
from contracts.vocabulary import Vocabulary
from recommender_api.requests import Filters, RankingRequest, RecommendationRequest

_MAX_LISTED: Final = 50
_MAX_COMPARED: Final = 100
"""Comparing takes the event loop's time: a tenth of a millisecond for ten values."""
_NO_FILTERS: Final = Filters()
_FIELD_OF: Final = {ITEM_GENDER: "gender"}


class Limits(NamedTuple):
    """What one request limits itself to; as `Constraints` has it for many."""

    excluded: IntArray
    codes: tuple[list[int], ...]
    prices: tuple[float, float]

    @property
    def has_filters(self) -> bool:
        """Whether more than a list of excluded items was given."""
        return any(self.codes) or self.prices != (-np.inf, np.inf)


class LimitReader:
    """Reads the limits of requests against the catalogue of a bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def __call__(self, request: RecommendationRequest | RankingRequest) -> Limits | None:
        """The limits of a request, None without any.

        Raises:
            RequestError: a name that the catalogue does not have, or a price range that holds nothing.
        """
        if request.filters is None and not request.exclude:
            return None
        filters = request.filters or _NO_FILTERS
        lowest = -np.inf if filters.min_price is None else filters.min_price
        highest = np.inf if filters.max_price is None else filters.max_price
        if lowest > highest:
            raise RequestError(f"filters.min_price={lowest} is above filters.max_price={highest}; swap them")
        rows = self._bundle.rows_of(request.exclude)
        return Limits(
            rows[rows >= 0], tuple(self._codes(name, filters) for name in ITEM_CATEGORICALS), (lowest, highest)
        )

    def _codes(self, name: str, filters: Filters) -> list[int]:
        field = _FIELD_OF.get(name, name)
        vocabulary = self._bundle.transforms.vocabularies[name]
        codes = []
        for value in getattr(filters, field) or ():
            code = vocabulary.encode_one(value)
            if code == 0:
                raise _unknown(field, value, vocabulary)
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
        codes=tuple(Ragged.of(lists) for lists in zip(*(one.codes for one in some), strict=True)),
        prices=np.array([one.prices for one in some], dtype=np.float64),
    )


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
