"""Sizes that a model must know about the data it is built for."""

from __future__ import annotations

from contracts import columns as c
from contracts.catalogue import ItemFeatures
from contracts.config import StrictConfig
from contracts.features import ITEM_CATEGORICALS, QUERY_CATEGORICALS
from contracts.transforms import FittedTransforms


class ModelSchema(StrictConfig):
    """Cardinalities and widths of the inputs; saved beside the weights."""

    cardinalities: dict[str, int]
    """Rows of the embedding table of each categorical feature and of `item_id`, the OOV row included."""
    text_dim: int
    """Components of the text embeddings."""
    image_dim: int
    """Components of the picture embeddings."""

    @classmethod
    def of(cls, transforms: FittedTransforms, items: ItemFeatures) -> ModelSchema:
        """The schema of a shop's fitted transforms and catalogue."""
        names = (*QUERY_CATEGORICALS, c.ITEM_ID, *ITEM_CATEGORICALS)
        return cls(
            cardinalities={name: transforms.cardinality(name) for name in names},
            text_dim=items.text.shape[1],
            image_dim=items.image.shape[1],
        )

    def query_cardinalities(self) -> list[int]:
        """Cardinalities of `QueryFeatures.categorical`, in order."""
        return [self.cardinalities[name] for name in QUERY_CATEGORICALS]

    def item_cardinalities(self) -> list[int]:
        """Cardinalities of `ItemFeatures.categorical`, in order."""
        return [self.cardinalities[name] for name in ITEM_CATEGORICALS]
