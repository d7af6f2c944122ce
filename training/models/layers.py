"""Small parts that both models are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from contracts.columns import USER_ID
from contracts.features import QUERY_CATEGORICALS

_EMBEDDING_STD = 0.05
_NO_SPREAD = 1e-6
_USER_ID = QUERY_CATEGORICALS.index(USER_ID)


def embedding_dim(cardinality: int) -> int:
    """Embedding size inferred from the cardinality: 2 * fourth root, rounded up to a multiple of 8."""
    return 8 * math.ceil(2 * math.pow(cardinality, 0.25) / 8)


def embedding(cardinality: int, dim: int) -> nn.Embedding:
    """An embedding table with small initial values."""
    table = nn.Embedding(cardinality, dim)
    nn.init.normal_(table.weight, std=_EMBEDDING_STD)
    return table


def mlp(dims: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """Linear layers of the given widths with ReLU between them and nothing after the last."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(dims):
        layers += [nn.Linear(width_in, width_out), nn.ReLU()]
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
    last_linear = len(layers) - (2 if dropout > 0 else 1)
    return nn.Sequential(*layers[:last_linear])


class FieldEmbeddings(nn.Module):
    """One table per categorical column.

    Args:
        cardinalities: rows of each table.
        dim: width of every table; None infers each from its cardinality.
    """

    def __init__(self, cardinalities: Sequence[int], dim: int | None = None) -> None:
        super().__init__()
        self.tables = nn.ModuleList(embedding(rows, dim or embedding_dim(rows)) for rows in cardinalities)
        self.width = sum(dim or embedding_dim(rows) for rows in cardinalities)

    def forward(self, codes: Tensor) -> list[Tensor]:
        """Embeddings [n, dim] of each column of codes [n, columns]."""
        return [table(codes[:, column]) for column, table in enumerate(self.tables)]


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


def without_some_users(categorical: Tensor, share: float) -> Tensor:
    """Query categoricals [B, 6] in which the user id of a random share of the queries is out of vocabulary."""
    if share == 0:
        return categorical
    kept = torch.rand(len(categorical), device=categorical.device) >= share
    ids = categorical[:, _USER_ID] * kept
    return torch.cat([ids[:, None], categorical[:, _USER_ID + 1 :]], dim=1)


def unique_rows(rows: Tensor, num_items: int) -> tuple[Tensor, Tensor]:
    """Distinct rows and, in the shape of `rows`, where each of them is among these.

    A batch that could touch the whole catalogue takes the whole catalogue, which saves the sort.
    """
    if rows.numel() >= num_items:
        return torch.arange(num_items, device=rows.device), rows
    used, place = torch.unique(rows, return_inverse=True)
    return used, place
