"""The ranker of a bundle behind a NumPy interface."""

from __future__ import annotations

import torch

from contracts.bundle import Bundle
from contracts.ids import FloatArray
from contracts.messages import Pairs, QueryFeatures
from serving.placing.device import Device, model_device
from training.models.inputs import PairTensors, QueryTensors
from training.models.loading import load_ranker
from training.models.ranker import Ranker


class TorchScorer:
    """Scores ragged candidates with a torch ranker.

    Args:
        ranker: the model.
        device: of the model.
    """

    def __init__(self, ranker: Ranker, device: torch.device | str = "cpu") -> None:
        self._ranker = ranker
        self._device = torch.device(device)

    @classmethod
    def open(cls, bundle: Bundle, device: Device = "auto") -> TorchScorer:
        """Loads the ranker of a bundle.

        Raises:
            ConfigError: the device is missing.
        """
        place = model_device(device)
        return cls(load_ranker(bundle, place), place)

    def __call__(self, queries: QueryFeatures, pairs: Pairs) -> FloatArray:
        """Logits [T] float32 of T candidates of B queries."""
        with torch.inference_mode():
            inputs = QueryTensors.from_features(queries).to(self._device), PairTensors.of(pairs).to(self._device)
            logits: FloatArray = self._ranker.score(*inputs).cpu().numpy()
        return logits
