"""Options of requests: filters, provided candidates, and reranking options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts import columns as c
from contracts.ids import AnyArray, BoolArray, IntArray, LongArray, check_array


@dataclass(frozen=True)
class Ragged:
    """Lists of integers, concatenated.

    Attributes:
        values: [T] int32.
        lengths: [n] int32, summing to T.
    """

    values: IntArray
    lengths: IntArray

    def __post_init__(self) -> None:
        check_array("lengths", self.lengths, (len(self.lengths),), np.int32)
        check_array("values", self.values, (int(self.lengths.sum()),), np.int32)

    @classmethod
    def of(cls, lists: Sequence[Sequence[int] | IntArray]) -> Ragged:
        """Packs lists."""
        values = [np.asarray(one, dtype=np.int32) for one in lists]
        return cls(
            np.concatenate([np.zeros(0, dtype=np.int32), *values]), np.array([len(v) for v in values], dtype=np.int32)
        )

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def owners(self) -> LongArray:
        """[T] int64: the list that each value belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)


@dataclass(frozen=True)
class ItemFilters:
    """Filters of F requests of a batch; the other requests take every eligible item.

    Attributes:
        requests: [F] int32, ascending: places in the batch.
        excluded: F lists of ItemRows to leave out.
        codes: by column, F lists of codes; an item passes if it has one of them. Empty = no filter.
        ranges: by numeric column, [F, 2] float64: lowest and highest number that pass. Infinite on both sides = no
            filter, items without a number pass as well.
    """

    requests: IntArray
    excluded: Ragged
    codes: Mapping[str, Ragged]
    ranges: Mapping[str, NDArray[np.float64]]

    def __post_init__(self) -> None:
        size = len(self.requests)
        check_array("requests", self.requests, (size,), np.int32)
        for column, bounds in self.ranges.items():
            check_array(column, bounds, (size, 2), np.float64)
        for lists in (self.excluded, *self.codes.values()):
            if len(lists) != size:
                raise ValueError(f"the filters have {len(lists)} lists, expected {size}, one a request with filters")


class Order(IntEnum):
    """How a final list is picked from ranked candidates."""

    GREEDY = 0
    """Highest score first."""
    SAMPLED = 1
    """Sampled without replacement from (1 - ε) · softmax(logit / T) + ε / n over all n candidates."""
    WEIGHTED = 2
    """As in the reference: like SAMPLED, but softmax(score / T) over the best candidates only; `score` is a sigmoid."""


NO_CAP: Final = np.iinfo(np.int32).max
CAPPED_COLUMNS: Final = (c.CATEGORY_L1, c.CATEGORY_L2)
"""Columns of `RerankingOptions.caps`."""


@dataclass(frozen=True)
class RerankingOptions:
    """Reranking options of B requests.

    Attributes:
        order: [B] int32, values of `Order`.
        temperature: [B] float64, T > 0, a divisor.
        epsilon: [B] float64 in [0, 1], the share of uniform picks.
        mmr: [B] float64 in [0, 1): weight of similarity to earlier picks, against relevance; 0 = relevance alone.
        caps: [B, 2] int32: most items of one category, for each of `CAPPED_COLUMNS`; `NO_CAP` = no limit.
        seeds: [B] uint64.
    """

    order: IntArray
    temperature: NDArray[np.float64]
    epsilon: NDArray[np.float64]
    mmr: NDArray[np.float64]
    caps: IntArray
    seeds: NDArray[np.uint64]

    def __post_init__(self) -> None:
        size = len(self.order)
        check_array("order", self.order, (size,), np.int32)
        for name in ("temperature", "epsilon", "mmr"):
            check_array(name, getattr(self, name), (size,), np.float64)
        check_array("caps", self.caps, (size, len(CAPPED_COLUMNS)), np.int32)
        check_array("seeds", self.seeds, (size,), np.uint64)

    def __len__(self) -> int:
        return len(self.order)

    @property
    def diverse(self) -> BoolArray:
        """[B]: whether a pick changes the next ones."""
        return np.asarray((self.caps < NO_CAP).any(axis=1) | (self.mmr > 0))

    def take(self, requests: AnyArray) -> RerankingOptions:
        """The options of some requests, by places or a mask."""
        return RerankingOptions(*(getattr(self, field.name)[requests] for field in fields(self)))
