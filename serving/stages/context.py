"""Request context (models 0 and 1c): device and time as model inputs."""

from __future__ import annotations

import numpy as np

from contracts import columns as c
from contracts.ids import IntArray, LongArray
from contracts.messages import RequestBatch
from contracts.transforms import FittedTransforms


class Context:
    """Fills in what the client did not tell, then encodes it."""

    def __init__(self, transforms: FittedTransforms) -> None:
        self._transforms = transforms

    def __call__(self, batch: RequestBatch) -> tuple[IntArray, LongArray]:
        """Device codes [B] (0 = missing or unknown) and context times [B] in Unix seconds (0 = now)."""
        codes = self._transforms.encode(c.DEVICE_TYPE, batch.device_types)
        return codes, np.where(batch.context_time == 0, batch.now, batch.context_time)
