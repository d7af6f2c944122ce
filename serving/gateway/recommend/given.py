"""The items that a request gives to be ranked: raw ids to rows, and what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from contracts.bundle import Bundle
from contracts.ids import IntArray


class Given(NamedTuple):
    """The given items of one request.

    Attributes:
        rows: [n] ItemRows of those that the catalogue has, each once, in the order of the request.
        ids: [n] their raw ids.
        unknown: ids that the catalogue does not have.
    """

    rows: IntArray
    ids: tuple[str, ...]
    unknown: tuple[str, ...]

    @classmethod
    def read(cls, candidate_ids: Sequence[str], bundle: Bundle) -> Given:
        """Looks the ids up."""
        distinct = tuple(dict.fromkeys(candidate_ids))
        rows = bundle.rows_of(distinct)
        known = tuple(item for item, row in zip(distinct, rows, strict=True) if row >= 0)
        return cls(rows[rows >= 0], known, tuple(item for item, row in zip(distinct, rows, strict=True) if row < 0))

    def ineligible(self, retrieved: IntArray) -> list[str]:
        """Ids of known items that are not among the scored rows [m]: not launched, withdrawn, or limited away."""
        left_out = ~np.isin(self.rows, retrieved)
        return [item for item, out in zip(self.ids, left_out, strict=True) if out]
