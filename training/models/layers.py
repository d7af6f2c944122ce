"""Small layers that both models use."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from training.models.inputs import ColumnTensors, ItemTensors
from training.models.schema import SideSizes

_EMBEDDING_STD = 0.05
_NO_SPREAD = 1e-6


def embedding_dim(cardinality: int) -> int:
    """Embedding size inferred from the cardinality: 2 * fourth root, rounded up to a multiple of 8."""
    return 8 * math.ceil(2 * math.pow(cardinality, 0.25) / 8)


def embedding(cardinality: int, dim: int) -> nn.Embedding:
    """An embedding table with small initial values."""
    table = nn.Embedding(cardinality, dim)
    nn.init.normal_(table.weight, std=_EMBEDDING_STD)
    return table


def linear(num_in: int, num_out: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer; without inputs, only its bias."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Initializing zero-element tensors is a no-op")
        return nn.Linear(num_in, num_out, bias=bias)


def mlp(dims: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """Linear layers of the given widths with ReLU between them, none after the last."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(dims):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
    last_linear = len(layers) - (2 if dropout > 0 else 1)
    return nn.Sequential(*layers[:last_linear])


class FieldEmbeddings(nn.Module):
    """One table per categorical column, and one per list, whose embeddings are averaged.

    Args:
        sizes: of the side.
        dim: width of every table; None infers each from its cardinality.
    """

    def __init__(self, sizes: SideSizes, dim: int | None = None) -> None:
        super().__init__()
        rows = [*sizes.codes.values(), *sizes.lists.values()]
        self.tables = nn.ModuleList(embedding(one, dim or embedding_dim(one)) for one in rows)
        self.width = sum(dim or embedding_dim(one) for one in rows)

    def forward(self, columns: ColumnTensors) -> list[Tensor]:
        """Embeddings [n, dim] of each categorical column and each list; zeros for an empty list."""
        codes, num_codes = columns.codes, columns.codes.shape[1]
        return [
            table(codes[:, place]) if place < num_codes else _mean_of_list(columns.lists[place - num_codes], table)
            for place, table in enumerate(self.tables)
        ]


def _mean_of_list(codes: Tensor, table: nn.Module) -> Tensor:
    """Mean embeddings [n, dim] of encoded ids [n, L] that end with `PAD_CODE`."""
    inside = (codes >= 0).unsqueeze(-1)
    vectors = table(codes.clamp(min=0)) * inside
    mean: Tensor = vectors.sum(dim=1) / inside.sum(dim=1).clamp(min=1)
    return mean


class ContentScale(nn.Module):
    """Divides every component by its spread over the catalogue: PCA components differ by orders of magnitude.

    The spread is measured once, over the vectors that are not zero; it is saved with the weights. Zero vectors (no
    text, no picture) stay zero.
    """

    scale: Tensor

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        present = vectors[vectors.any(dim=1)]
        spread = present.std(dim=0) if len(present) > 1 else torch.zeros(vectors.shape[1])
        self.register_buffer("scale", torch.where(spread > _NO_SPREAD, 1 / spread.clamp(min=_NO_SPREAD), 0.0))

    def forward(self, vectors: Tensor) -> Tensor:
        """Scaled vectors, same shape."""
        return vectors * self.scale


def content_scales(items: ItemTensors) -> nn.ModuleList:
    """A `ContentScale` for each vector feature of the items."""
    return nn.ModuleList(ContentScale(vectors) for vectors in items.columns.vectors)


def without_some_users(columns: ColumnTensors, place: int | None, share: float) -> ColumnTensors:
    """Query columns in which the user id of a random share of the queries is out of vocabulary.

    Args:
        columns: of B queries.
        place: of the user id among the codes; None = there is none.
        share: of the queries.
    """
    if share == 0 or place is None:
        return columns
    codes = columns.codes
    kept = torch.rand(len(codes), device=codes.device) >= share
    ids = codes[:, place] * kept
    changed = torch.cat([codes[:, :place], ids[:, None], codes[:, place + 1 :]], dim=1)
    return replace(columns, codes=changed)


def unique_rows(rows: Tensor, num_items: int) -> tuple[Tensor, Tensor]:
    """Distinct rows, and the place of each row among them in the shape of `rows`.

    A batch as large as the catalogue uses the whole catalogue, which saves sorting.
    """
    if rows.numel() >= num_items:
        return torch.arange(num_items, device=rows.device), rows
    used, place = torch.unique(rows, return_inverse=True)
    return used, place
