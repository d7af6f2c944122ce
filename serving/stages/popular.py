"""Popular items: the fallback of retrieval."""

from __future__ import annotations

import numpy as np

from contracts.bundle import Bundle
from contracts.ids import IntArray
from contracts.messages import Candidates, QueryFeatures
from contracts.options import ItemFilters, Ragged
from serving.stages.eligibility import Eligibility


class PopularItems:
    """Popular eligible items, the same for everybody except for the filters of a request.

    Args:
        bundle_version: the version whose ItemRows these are.
        rows: [n] int32, most popular first; the other items follow, so that a request with filters finds
            everything that passes them.
        eligibility: items that may be recommended.
        count: items of a request, at most.
    """

    def __init__(self, bundle_version: str, rows: IntArray, eligibility: Eligibility, count: int) -> None:
        self._version = bundle_version
        others = np.setdiff1d(np.arange(len(eligibility), dtype=np.int32), rows)
        self._bundle_order = self._order = np.concatenate([rows, others])
        self._eligibility = eligibility
        self._count = count

    @classmethod
    def open(cls, bundle: Bundle, count: int) -> PopularItems:
        """Reads a bundle's popularity list; at most `count` items a request."""
        return cls(bundle.version, np.asarray(bundle.array("popularity/global")), Eligibility.open(bundle), count)

    def put_first(self, rows: IntArray) -> None:
        """Puts some items first, in this order; the others follow in the bundle's."""
        rest = self._bundle_order[~np.isin(self._bundle_order, rows)]
        self._order = np.concatenate([rows, rest])

    def __call__(
        self, queries: QueryFeatures, filters: ItemFilters | None = None, provided: Ragged | None = None
    ) -> Candidates:
        """Items of each query, best first, with scores 0, -1, -2 and so on.

        Args:
            queries: B queries.
            filters: of the queries; None = none.
            provided: B lists of ItemRows that replace the popular items, in their order.
        """
        shape = (len(queries), len(self._eligibility))
        masks = np.broadcast_to(self._eligibility.of(queries.now, filters), shape)
        if provided is None:
            lists = [self._order[mask[self._order]][: self._count] for mask in masks]
        else:
            rows = np.split(provided.values, np.cumsum(provided.lengths)[:-1])
            lists = [some[mask[some]] for some, mask in zip(rows, masks, strict=True)]
        lengths = np.array([len(one) for one in lists], dtype=np.int32)
        scores = [-np.arange(length, dtype=np.float32) for length in lengths]
        return Candidates(self._version, np.concatenate(lists), np.concatenate(scores), lengths)
