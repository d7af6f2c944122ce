"""Popular items: what is shown when retrieval does not answer."""

from __future__ import annotations

import numpy as np

from contracts.bundle import Bundle
from contracts.ids import IntArray
from contracts.messages import Candidates, QueryFeatures
from contracts.options import Constraints, Ragged
from serving.stages.eligibility import Eligibility


class PopularItems:
    """Popular eligible items, the same for everybody but for the limits of the request.

    Args:
        bundle_version: the version whose ItemRows these are.
        rows: [n] int32, most popular first; items that are not among them come after them, so that a limited request
            finds whatever there is.
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
        self, queries: QueryFeatures, constraints: Constraints | None = None, given: Ragged | None = None
    ) -> Candidates:
        """Items of each query, best first, with scores 0, -1, -2 and so on.

        Args:
            queries: B queries.
            constraints: items that they limit themselves to.
            given: items to choose from, in their order; None = popular ones.
        """
        size = len(queries)
        masks = np.broadcast_to(self._eligibility.of(queries.now, constraints), (size, len(self._eligibility)))
        orders = [self._order] * size if given is None else np.split(given.values, np.cumsum(given.lengths)[:-1])
        most = self._count if given is None else None
        lists = [order[mask[order]][:most] for order, mask in zip(orders, masks, strict=True)]
        lengths = np.array([len(rows) for rows in lists], dtype=np.int32)
        scores = [-np.arange(length, dtype=np.float32) for length in lengths]
        return Candidates(self._version, np.concatenate(lists), np.concatenate(scores), lengths)
