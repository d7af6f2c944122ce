"""Field vectors of one side, query or item: the inputs of the interaction of fields."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from training.models.inputs import ColumnTensors, ItemTensors
from training.models.layers import FieldEmbeddings, content_scales, mlp
from training.models.schema import SideSizes


class SideFields(nn.Module):
    """Field vectors of one side: a table per category, a projection per vector, one MLP for all numbers.

    Args:
        sizes: of the side.
        dim: width of every field.
        hidden_dims: hidden layers of the numbers' MLP; None = the numbers are not a field.
        items: their vectors are scaled by their spread; None = vectors are not scaled.
    """

    def __init__(
        self, sizes: SideSizes, dim: int, hidden_dims: Sequence[int] | None, items: ItemTensors | None = None
    ) -> None:
        super().__init__()
        self.embeddings = FieldEmbeddings(sizes, dim)
        self.scales = nn.ModuleList() if items is None else content_scales(items)
        self.vectors = nn.ModuleList(nn.Linear(length, dim) for length in sizes.vectors.values())
        reads = bool(sizes.numbers) and hidden_dims is not None
        self.numbers = mlp([len(sizes.numbers), *(hidden_dims or ()), dim]) if reads else None
        self.count = len(self.embeddings.tables) + len(self.vectors) + int(reads)

    def forward(self, columns: ColumnTensors) -> list[Tensor]:
        """Field vectors [n, dim], that of the numbers last."""
        scaled = columns.vectors
        if len(self.scales):
            scaled = tuple(scale(vector) for scale, vector in zip(self.scales, scaled, strict=True))
        projected = (to_field(vector) for to_field, vector in zip(self.vectors, scaled, strict=True))
        fields = [*self.embeddings(columns), *projected]
        return fields if self.numbers is None else [*fields, self.numbers(columns.numbers)]
