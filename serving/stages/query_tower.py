"""Query tower: query features to query embeddings."""

from __future__ import annotations

import numpy as np
import torch

from contracts.bundle import Bundle
from contracts.ids import FloatArray
from contracts.messages import QueryFeatures
from serving.placing.device import Device, model_device
from training.models.inputs import QueryTensors
from training.models.loading import load_two_tower
from training.models.two_tower import TwoTower


class QueryTower:
    """The query side of the two-tower model.

    Reference model: 2 query_tower
    Input: query features of B requests
    Output: query embeddings [B, E]
    Artifacts: `two_tower/weights.safetensors`, item columns for the history
    Failure: as retrieval: popular items, `retrieval` in `degraded`
    Cadence: each bundle
    """

    def __init__(self, model: TwoTower) -> None:
        self._model = model
        self._device = model.items.encoded_id.device

    @classmethod
    def open(cls, bundle: Bundle, device: Device = "auto") -> QueryTower:
        """Loads the model of a bundle.

        Raises:
            ConfigError: the device is missing.
        """
        return cls(load_two_tower(bundle, model_device(device)))

    @property
    def age_bias(self) -> FloatArray:
        """Additive retrieval bias of each item age bucket, [NUM_ITEM_AGE_BUCKETS]."""
        return self._model.age_bias.detach().cpu().numpy().astype(np.float32)

    def __call__(self, queries: QueryFeatures) -> FloatArray:
        """Query embeddings [B, E]."""
        with torch.inference_mode():
            embeddings: FloatArray = (
                self._model.query(QueryTensors.from_features(queries).to(self._device)).cpu().numpy()
            )
        return embeddings
