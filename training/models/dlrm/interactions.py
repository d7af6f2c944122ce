"""Field vectors of queries and items, and their dot products: the arithmetic of DLRM, without weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from training.models.inputs import QueryTensors


@dataclass(frozen=True)
class QueryState:
    """Everything that depends on the query alone.

    Attributes:
        fields: [B, F, dim] field vectors.
        first: [B, H] its terms of the first top layer.
        bottom: [B, H'] its terms of the first bottom layer, or None where item numbers are no input of the bottom.
        past: [B, G, 3, dim] item fields of the history, see `DLRM.past_fields`; None without history.
    """

    fields: Tensor
    first: Tensor
    bottom: Tensor | None
    past: Tensor | None

    def __getitem__(self, part: slice) -> QueryState:
        """Some of the queries."""
        bottom = None if self.bottom is None else self.bottom[part]
        past = None if self.past is None else self.past[part]
        return QueryState(self.fields[part], self.first[part], bottom, past)


@dataclass(frozen=True)
class ItemState:
    """Everything that depends on n items alone.

    Attributes:
        fields: [G, n, dim] field vectors.
        first: [n, H] their terms of the first top layer.
        numbers: [n, F] as the schema has them.
    """

    fields: Tensor
    first: Tensor
    numbers: Tensor

    def fields_of(self, place: Tensor) -> Tensor:
        """Field vectors [..., G, m, dim] of the items at places [..., m]."""
        return F.embedding(self.table_rows(place), self.fields.flatten(0, 1))

    def table_rows(self, place: Tensor) -> Tensor:
        """Rows [..., G, m] of `fields` as one table [G * n, dim], for places [..., m]."""
        num_fields, count = self.fields.shape[:2]
        return place[..., None, :] + torch.arange(0, num_fields * count, count, device=place.device)[:, None]


def dots(fields: Tensor, state: QueryState) -> Tensor:
    """Dot products of each candidate field with the fields of the query and with the same field of the history.

    Args:
        fields: of the candidates [B or 1, G, C, dim].
        state: of B queries; F + 3 vectors meet a field of a candidate, F without history.

    Returns:
        [B, C, G * (F + 3)].
    """
    vectors = state.fields[:, None].expand(-1, fields.shape[1], -1, -1)
    if state.past is not None:
        vectors = torch.cat([vectors, state.past], dim=2)
    if len(fields) == 1:  # one product for all queries
        products = torch.einsum("gcd,bgvd->bcgv", fields[0], vectors)
    else:
        products = torch.matmul(fields, vectors.transpose(2, 3)).transpose(1, 2)
    return products.flatten(2)


def occurrences(queries: QueryTensors, rows: Tensor) -> Tensor:
    """How often candidates [B or 1, C] occur in the history: log(1 + times), and whether in this session, [B, C, 2]."""
    same = (rows[..., None] == queries.history_rows[:, None]).float()
    in_session = queries.same_session.float()
    times = torch.matmul(same, torch.stack([torch.ones_like(in_session), in_session], dim=2))
    return torch.stack([times[..., 0].log1p(), times[..., 1].clamp(max=1)], dim=2)


def one_hot(codes: Tensor, count: int) -> Tensor:
    """Codes [...] as vectors [..., count] float32."""
    return (codes[..., None] == torch.arange(count, device=codes.device)).float()


def num_pairs(count: int) -> int:
    """Pairs of `count` things."""
    return count * (count - 1) // 2


def pair_dots(fields: Tensor) -> Tensor:
    """Dot products of all pairs of fields [n, F, dim] -> [n, F * (F - 1) / 2]."""
    products = torch.bmm(fields, fields.transpose(1, 2)).flatten(1)
    return products.index_select(1, _upper_triangle(fields.shape[1], fields.device))


@lru_cache
def _upper_triangle(size: int, device: torch.device) -> Tensor:
    """Places above the diagonal of a flattened matrix."""
    with torch.inference_mode(False):  # the result is used in training too
        first, second = torch.triu_indices(size, size, offset=1, device=device)
        places: Tensor = first * size + second
        return places
