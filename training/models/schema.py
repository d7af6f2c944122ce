"""Sizes that a model must know about the data it is built for."""

from __future__ import annotations

from pydantic import Field

from contracts import columns as c
from contracts.catalogue import ItemFeatures
from contracts.config import StrictConfig
from contracts.encoded import EncodedColumns
from contracts.feature import Side
from contracts.transforms import FittedTransforms


class SideSizes(StrictConfig):
    """Sizes of one side's inputs, by column name, in the order of the columns."""

    codes: dict[str, int] = Field(default_factory=dict)
    """Rows of the embedding table of each categorical feature, the OOV row included."""
    numbers: tuple[str, ...] = ()
    """Columns of numbers."""
    lists: dict[str, int] = Field(default_factory=dict)
    """Rows of the embedding table of each list feature, the OOV row included."""
    vectors: dict[str, int] = Field(default_factory=dict)
    """Floats of each vector feature."""

    @classmethod
    def of(cls, transforms: FittedTransforms, side: Side, columns: EncodedColumns | None = None) -> SideSizes:
        """The sizes of a side; the lengths of encoded vectors come from the columns."""
        layout = transforms.schema.layout(side)
        found = columns.vectors if columns is not None else ()
        lengths = {name: vector.shape[1] for name, vector in zip(layout.vectors, found, strict=False)}
        return cls(
            codes={name: transforms.cardinality(name) for name in layout.codes},
            numbers=layout.numbers,
            lists={name: transforms.cardinality(name) for name in layout.lists},
            vectors={name: lengths.get(name) or transforms.schema[name].length or 0 for name in layout.vectors},
        )

    @property
    def user_column(self) -> int | None:
        """Place of the user id among the codes; None if it is none of them."""
        names = list(self.codes)
        return names.index(c.USER_ID) if c.USER_ID in names else None


class ModelSchema(StrictConfig):
    """Sizes of all inputs; saved beside the weights."""

    query: SideSizes = SideSizes()
    """Inputs per request."""
    item: SideSizes = SideSizes()
    """Inputs per item."""
    pair: SideSizes = SideSizes()
    """Inputs per request and candidate, beside the derived ones."""
    num_item_ids: int = 0
    """Rows of the embedding table of the items' own ids, the OOV row included; 0 = there is no catalogue."""

    @classmethod
    def of(cls, transforms: FittedTransforms, items: ItemFeatures) -> ModelSchema:
        """The schema of a shop's fitted transforms and catalogue."""
        return cls(
            query=SideSizes.of(transforms, Side.QUERY),
            item=SideSizes.of(transforms, Side.ITEM, items.columns),
            pair=SideSizes.of(transforms, Side.PAIR),
            num_item_ids=transforms.cardinality(c.ITEM_ID),
        )
