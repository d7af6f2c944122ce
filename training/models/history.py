"""Vectors of a subject's history: the last item, and attention pooling over the last N."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.models.inputs import ItemTensors, QueryTensors
from training.models.layers import FieldEmbeddings, content_scales, embedding, unique_rows
from training.models.schema import ModelSchema

AGE_BUCKETS: Final = 24
_SHORTEST_AGE_S: Final = 60.0
_BUCKETS_PER_DOUBLING: Final = 1.5
_EXCLUDED: Final = -1e9


class ItemEncoder(nn.Module):
    """Vectors of items in a history: an id embedding of its own plus a projection of the content.

    The id embedding is not the candidate tower's, so that candidates stay fixed if only the query side is trained. The
    content also describes items without a training positive.
    """

    def __init__(self, schema: ModelSchema, items: ItemTensors, dim: int, id_dropout: float) -> None:
        super().__init__()
        self.id_dropout = id_dropout
        self.item_id = embedding(schema.num_item_ids, dim)
        self.fields = FieldEmbeddings(schema.item)
        self.vectors = content_scales(items)
        width = self.fields.width + len(schema.item.numbers) + sum(schema.item.vectors.values())
        self.content = nn.Sequential(nn.Linear(width, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, items: ItemTensors, rows: Tensor) -> Tensor:
        """Vectors [n, dim] of ItemRows [n]."""
        ids = items.ids(rows, self.id_dropout if self.training else 0.0)
        columns = items.of(rows)
        vectors = [scale(vector) for scale, vector in zip(self.vectors, columns.vectors, strict=True)]
        content: Tensor = self.content(torch.cat([*self.fields(columns), columns.numbers, *vectors], dim=1))
        encoded: Tensor = self.item_id(ids) + content
        return encoded


class HistoryEncoder(nn.Module):
    """Query-side vectors of the last N interactions; V = `num_heads` + 2 vectors of `dim`.

    Head h weighs interaction n by softmax_n(a_h(item) + b_h(age of the interaction) + c_h(same session)); the other two
    vectors are the last item, and the last item if it is in this session. An empty history gives zeros.
    """

    def __init__(self, schema: ModelSchema, items: ItemTensors, *, dim: int, num_heads: int, id_dropout: float) -> None:
        super().__init__()
        self.dim, self.num_heads = dim, num_heads
        self.num_vectors = num_heads + 2
        self.encoder = ItemEncoder(schema, items, dim, id_dropout)
        self.item_weight = nn.Linear(dim, num_heads)
        self.age_weight = embedding(AGE_BUCKETS, num_heads)
        self.session_weight = nn.Parameter(torch.zeros(num_heads))
        self._prepared: tuple[ItemTensors, Tensor, Tensor] | None = None

    def prepare(self, items: ItemTensors) -> None:
        """Computes vectors and weights of the whole catalogue once, for scoring with fixed weights."""
        vectors = self.encoder(items, torch.arange(len(items), device=items.encoded_id.device))
        self._prepared = items, vectors, self.item_weight(vectors)

    def forward(self, items: ItemTensors, queries: QueryTensors) -> Tensor:
        """Vectors [B, V, dim]: the heads, the last item, the last item if in this session."""
        valid = queries.history_rows >= 0
        if self._prepared is not None and self._prepared[0] is items:
            (_, vectors, item_weights), place = self._prepared, queries.history_rows.clamp(min=0)
        else:
            used, place = unique_rows(queries.history_rows.clamp(min=0), len(items))
            vectors = self.encoder(items, used)
            item_weights = self.item_weight(vectors)
        weights = F.embedding(place, item_weights) + self.age_weight(age_bucket(queries.history_age_s))
        weights = weights + queries.same_session[..., None] * self.session_weight
        weights = weights.masked_fill(~valid[..., None], _EXCLUDED).softmax(dim=1) * valid[..., None]
        gathered = F.embedding(place, vectors)
        pooled = torch.bmm(weights.transpose(1, 2), gathered)
        last = gathered[:, :1] * valid[:, :1, None]
        return torch.cat([pooled, last, last * queries.same_session[:, :1, None]], dim=1)


def age_bucket(age_s: Tensor) -> Tensor:
    """Bucket of the age of an interaction, any shape: from a minute to a month in steps of a factor of 1.6."""
    steps = torch.log2(age_s.clamp(min=_SHORTEST_AGE_S) / _SHORTEST_AGE_S) * _BUCKETS_PER_DOUBLING
    return steps.long().clamp(max=AGE_BUCKETS - 1)
