"""Reranking (model 6c): the final order and cut."""

from __future__ import annotations

import numpy as np

from contracts.ids import FloatArray, IntArray
from contracts.messages import Candidates
from contracts.top_k import sort_keys


class Reranking:
    """Greedy top-k by score, exact ties by ItemRow; scores become sigmoids."""

    def __call__(self, candidates: Candidates, k: IntArray) -> Candidates:
        """The best k[b] candidates of each request b, or all there are; works for any bundle version.

        Args:
            candidates: scored by logits.
            k: [B] int32.
        """
        keys = sort_keys(candidates.scores, candidates.rows)
        order = np.lexsort((-keys, candidates.owners))
        place = np.arange(len(keys)) - np.repeat(candidates.offsets[:-1], candidates.lengths)
        top = order[place < np.repeat(k, candidates.lengths)]
        lengths = np.minimum(candidates.lengths, k).astype(np.int32)
        return Candidates(candidates.bundle_version, candidates.rows[top], sigmoid(candidates.scores[top]), lengths)


def sigmoid(logits: FloatArray) -> FloatArray:
    """1 / (1 + exp(-x)) in float32, without overflow."""
    small = np.exp(-np.abs(logits))
    scores: FloatArray = np.where(logits >= 0, np.float32(1), small) / (1 + small)
    return scores
