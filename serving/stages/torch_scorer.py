"""The ranker of a bundle behind a NumPy interface."""

from __future__ import annotations

import numpy as np
import torch

from contracts.bundle import Bundle
from contracts.ids import AnyArray, FloatArray, IntArray, LongArray
from contracts.messages import QueryFeatures
from serving.placing.device import Device, model_device
from training.models.inputs import QueryTensors, as_tensor
from training.models.loading import load_ranker
from training.models.ranker import Ranker


class TorchScorer:
    """Scores ragged candidates with a torch ranker.

    Args:
        ranker: the model.
        device: where it lies.
    """

    def __init__(self, ranker: Ranker, device: torch.device | str = "cpu") -> None:
        self._ranker = ranker
        self._device = torch.device(device)

    @classmethod
    def open(cls, bundle: Bundle, device: Device = "auto") -> TorchScorer:
        """Loads the ranker of a bundle.

        Raises:
            ConfigError: the device is not there.
        """
        place = model_device(device)
        return cls(load_ranker(bundle, place), place)

    def __call__(
        self,
        queries: QueryFeatures,
        rows: IntArray,
        owners: LongArray,
        retrieval_scores: FloatArray,
        ages: IntArray,
        popularity: FloatArray | None = None,
    ) -> FloatArray:
        """Logits [T] float32 of candidates [T] of B queries; `popularity` [T] where the ranker reads it."""
        with torch.inference_mode():
            given: list[AnyArray] = [rows.astype(np.int64), owners, retrieval_scores, ages.astype(np.int64)]
            given += [] if popularity is None else [popularity]
            logits: FloatArray = (
                self._ranker.score(
                    QueryTensors.from_features(queries).to(self._device),
                    *(as_tensor(array).to(self._device) for array in given),
                )
                .cpu()
                .numpy()
            )
        return logits
