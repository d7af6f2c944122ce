"""The candidates that a request provides to be ranked: raw ids to rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from contracts.bundle import Bundle
from contracts.ids import IntArray


class ProvidedCandidates(NamedTuple):
    """The provided candidates of one request.

    Attributes:
        rows: [n] distinct ItemRows of those that the catalogue has, in the order of the request.
        ids: [n] their raw ids.
        unknown: ids that the catalogue does not have.
    """

    rows: IntArray
    ids: tuple[str, ...]
    unknown: tuple[str, ...]

    @classmethod
    def read(cls, candidate_ids: Sequence[str], bundle: Bundle) -> ProvidedCandidates:
        """Looks up raw ids."""
        distinct = tuple(dict.fromkeys(candidate_ids))
        rows = bundle.rows_of(distinct)
        known = tuple(item for item, row in zip(distinct, rows, strict=True) if row >= 0)
        return cls(rows[rows >= 0], known, tuple(item for item, row in zip(distinct, rows, strict=True) if row < 0))

    def ineligible(self, retrieved: IntArray) -> list[str]:
        """Ids of known items that are not among the scored rows [m]: not launched, withdrawn or filtered out."""
        missing = ~np.isin(self.rows, retrieved)
        return [item for item, is_missing in zip(self.ids, missing, strict=True) if is_missing]
