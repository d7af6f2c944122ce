"""Popular items: what is shown when retrieval does not answer."""

from __future__ import annotations

import numpy as np

from contracts.bundle import Bundle
from contracts.ids import IntArray
from contracts.messages import Candidates, QueryFeatures
from serving.stages.eligibility import Eligibility


class PopularItems:
    """The bundle's most popular eligible items, the same for everybody."""

    def __init__(self, bundle_version: str, rows: IntArray, eligibility: Eligibility, count: int) -> None:
        self._version = bundle_version
        self._rows = rows
        self._eligibility = eligibility
        self._count = count

    @classmethod
    def open(cls, bundle: Bundle, count: int) -> PopularItems:
        """Reads a bundle's popularity list; at most `count` items a request."""
        return cls(bundle.version, np.asarray(bundle.array("popularity/global")), Eligibility.open(bundle), count)

    def __call__(self, queries: QueryFeatures) -> Candidates:
        """Popular items of each query, best first, with scores 0, -1, -2 and so on."""
        lists = []
        for now in queries.now:
            eligible = self._eligibility.at(int(now))
            lists.append(self._rows[eligible[self._rows]][: self._count])
        lengths = np.array([len(rows) for rows in lists], dtype=np.int32)
        scores = [-np.arange(length, dtype=np.float32) for length in lengths]
        return Candidates(self._version, np.concatenate(lists), np.concatenate(scores), lengths)
