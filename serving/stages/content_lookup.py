"""Multimodal embedding lookup: text and picture embeddings of items by ItemRow, from mapped arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.bundle import Bundle
from contracts.ids import FloatArray, IntArray


@dataclass(frozen=True)
class ContentLookup:
    """Embeddings of the catalogue; all replicas of a machine share one copy.

    Reference model: 5c multimodal_embedding_lookup
    Input: ItemRows
    Output: text and picture embeddings after the PCA; zeros where there is none
    Artifacts: `items/vectors/text`, `items/vectors/image`, mapped
    Failure: none once opened: no other machine is involved
    Cadence: each bundle; the PCA belongs to the candidate tower

    Attributes:
        text: [I, D] float32, zeros where an item has no text.
        image: [I, D'] float32, zeros where an item has no picture.
    """

    text: FloatArray
    image: FloatArray

    @classmethod
    def open(cls, bundle: Bundle) -> ContentLookup:
        """Maps the embeddings of a bundle."""
        return cls(bundle.item_vectors("text"), bundle.item_vectors("image"))

    def take(self, rows: IntArray) -> ContentLookup:
        """The embeddings of some items, by ItemRow."""
        return ContentLookup(self.text[rows], self.image[rows])

    def directions(self, rows: IntArray) -> FloatArray:
        """Unit vectors [..., D + D'] with equal weights of text and picture; zeros for items with neither.

        Args:
            rows: ItemRows of any shape.
        """
        both = np.concatenate([_unit(self.text[rows]), _unit(self.image[rows])], axis=-1)
        return _unit(both)


def _unit(vectors: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: FloatArray = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit
