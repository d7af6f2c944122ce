"""Request context: what the client did not tell is filled in."""

from __future__ import annotations

import numpy as np

from contracts import columns as c
from contracts.ids import IntArray, LongArray
from contracts.messages import RequestBatch
from contracts.transforms import FittedTransforms


def context_times(batch: RequestBatch) -> LongArray:
    """Context times [B] in Unix seconds; a request without one is of now."""
    return np.where(batch.context_time == 0, batch.now, batch.context_time)


class Context:
    """Fills in what the client did not tell, then encodes the device.

    Reference model: 0 context_preprocessor
    Input: device type or none, Unix seconds or 0, of each request
    Output: device code (0 = missing or unknown), Unix seconds (0 became now)
    Artifacts: vocabulary of devices
    Failure: none: nothing is looked up
    Cadence: vocabulary fitted at a full build; now from the clock
    """

    def __init__(self, transforms: FittedTransforms) -> None:
        self._transforms = transforms

    def __call__(self, batch: RequestBatch) -> tuple[IntArray, LongArray]:
        """Device codes [B] (0 = missing or unknown) and context times [B] in Unix seconds (0 = now)."""
        codes = self._transforms.encode(c.DEVICE_TYPE, batch.device_types)
        return codes, context_times(batch)
