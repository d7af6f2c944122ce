"""The ranker of a bundle behind a NumPy interface."""

from __future__ import annotations

import numpy as np
import torch

from contracts.bundle import Bundle
from contracts.ids import FloatArray, IntArray, LongArray
from contracts.messages import QueryFeatures
from training.models.inputs import QueryTensors, as_tensor
from training.models.loading import load_ranker
from training.models.ranker import Ranker


class TorchScorer:
    """Scores ragged candidates with a torch ranker."""

    def __init__(self, ranker: Ranker) -> None:
        self._ranker = ranker

    @classmethod
    def open(cls, bundle: Bundle) -> TorchScorer:
        """Loads the ranker of a bundle."""
        return cls(load_ranker(bundle))

    def __call__(
        self, queries: QueryFeatures, rows: IntArray, owners: LongArray, retrieval_scores: FloatArray, ages: IntArray
    ) -> FloatArray:
        """Logits [T] float32 of candidates [T] of B queries."""
        with torch.inference_mode():
            logits: FloatArray = self._ranker.score(
                QueryTensors.from_features(queries),
                as_tensor(rows.astype(np.int64)),
                as_tensor(owners),
                as_tensor(retrieval_scores),
                as_tensor(ages.astype(np.int64)),
            ).numpy()
        return logits
