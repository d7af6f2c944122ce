"""Similar items: neighbours of an item in the space of candidate embeddings."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from contracts.bundle import Bundle
from contracts.ids import FloatArray, IntArray
from contracts.top_k import top_k
from serving.stages.eligibility import Eligibility


class Neighbours:
    """Finds the available items whose candidate embeddings have the highest cosine to that of an item.

    Args:
        candidates: [I, E] float32, may be memory-mapped.
        eligibility: items that may be shown.
    """

    def __init__(self, candidates: FloatArray, eligibility: Eligibility) -> None:
        self._candidates = np.asarray(candidates)
        self._eligibility = eligibility
        self._all_rows = np.arange(len(candidates), dtype=np.int32)

    @classmethod
    def open(cls, bundle: Bundle) -> Neighbours:
        """Maps the embeddings of a bundle."""
        return cls(bundle.array("two_tower/candidate"), Eligibility.open(bundle))

    def __call__(self, row: int, k: int, now: int) -> tuple[IntArray, FloatArray]:
        """ItemRows [n] of the at most k nearest, the item itself left out, and their cosines [n], best first.

        Args:
            row: ItemRow, itself available or not.
            k: items wanted.
            now: Unix seconds.
        """
        mask = self._eligibility.at(now).copy()
        mask[row] = False
        products = self._candidates @ self._candidates[row]
        lengths = self._lengths * self._lengths[row]
        cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
        rows, scores = top_k(np.where(mask, cosines, np.float32(-np.inf))[None], self._all_rows, k)
        found = min(k, np.count_nonzero(mask))
        return rows[0, :found], scores[0, :found]

    @cached_property
    def _lengths(self) -> FloatArray:
        return np.asarray(np.sqrt(np.einsum("ie,ie->i", self._candidates, self._candidates)))
