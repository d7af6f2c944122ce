"""Principal components of raw vectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from contracts.ids import BoolArray, FloatArray


@dataclass(frozen=True)
class Pca:
    """A projection.

    Attributes:
        mean: [D] float32.
        components: [K, D] float32; zero rows if there was too little data for K components.
    """

    mean: FloatArray
    components: FloatArray

    @classmethod
    def fit(cls, vectors: FloatArray, dim: int) -> Pca:
        """Fits on vectors [n, D]; at most min(n, D) of the `dim` components are not zero."""
        size = vectors.shape[1]
        components = np.zeros((dim, size), dtype=np.float32)
        if len(vectors) == 0:
            return cls(np.zeros(size, dtype=np.float32), components)
        data = vectors.astype(np.float64)
        mean = data.mean(axis=0)
        covariance = (data - mean).T @ (data - mean) / len(data)
        kept = min(dim, len(vectors), size)
        axes = np.linalg.eigh(covariance)[1][:, ::-1][:, :kept].T
        largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
        components[:kept] = axes * np.sign(largest)  # a component's sign is arbitrary: make it the same on all machines
        return cls(mean.astype(np.float32), components)

    def apply(self, vectors: FloatArray, present: BoolArray) -> FloatArray:
        """Projects vectors [n, D] to [n, K] float32; rows that are not present stay zero."""
        projected = (vectors - self.mean) @ self.components.T
        return np.where(present[:, None], projected, 0).astype(np.float32)

    def save(self, path: Path) -> None:
        """Writes safetensors with `mean` and `components`."""
        save_file({"mean": self.mean, "components": self.components}, path)

    @classmethod
    def load(cls, path: Path) -> Pca:
        """Reads what `save` wrote."""
        return cls(**load_file(path))
