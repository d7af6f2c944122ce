"""DLRM, computed in parts: what the query alone gives, what the item alone gives, and their products.

Dot products of all pairs of field vectors and the bottom vector go through a top MLP (Naumov et al., "Deep Learning
Recommendation Model for Personalization and Recommendation Systems", 2019). The first top layer is linear in its
inputs, so its terms of query-query pairs are computed once a query, those of item-item pairs once an item, and only
query-item pairs are computed for each candidate. The result is that of the plain form.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from contracts.config import StrictConfig
from contracts.features import (
    ITEM_CATEGORICALS,
    ITEM_CONTINUOUS,
    NUM_ITEM_AGE_BUCKETS,
    QUERY_CATEGORICALS,
    QUERY_CONTINUOUS,
)
from training.models.history import HistoryEncoder
from training.models.inputs import ItemTensors, QueryTensors
from training.models.layers import ContentScale, FieldEmbeddings, embedding, mlp, unique_rows
from training.models.schema import ModelSchema

_PRICE_HIDDEN = 32


class DLRMConfig(StrictConfig):
    """Shape of the ranker. The reference: no history, no retrieval score, no item age, price in the bottom MLP."""

    dim: int = Field(default=64, ge=1)
    """Width of every field vector."""
    bottom_dims: tuple[int, ...] = (128,)
    """Hidden layers of the bottom MLP; its output has the width `dim`."""
    top_dims: tuple[int, ...] = Field(default=(128, 64, 32), min_length=1)
    """Hidden layers of the top MLP."""
    price_in_bottom: bool = False
    """True mixes query and item continuous features in the bottom MLP; False gives the price a vector of its own."""
    history_length: int = Field(default=32, ge=0)
    """Last interactions that the ranker reads; 0 for none."""
    history_days: int = Field(default=30, ge=1)
    """Interactions older than this are not read."""
    history_heads: int = Field(default=2, ge=1)
    """Attention heads that pool the history, each a field."""
    item_age: bool = True
    """Whether the item's age at the time of the request is an input."""
    retrieval_score: bool = True
    """Whether the retrieval score is an input, also added to the logit with a weight that starts at 1."""
    id_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Probability that an item's id is out of vocabulary in a training step, for all its places at once."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout after the top's hidden layers."""


@dataclass(frozen=True)
class QueryState:
    """What the query alone gives.

    Attributes:
        fields: [B, F, dim] field vectors.
        first: [B, H] its terms of the first top layer.
        bottom: [B, H'] its terms of the first bottom layer, or None where the price is no input of the bottom.
    """

    fields: Tensor
    first: Tensor
    bottom: Tensor | None


@dataclass(frozen=True)
class ItemState:
    """What n items alone give.

    Attributes:
        fields: [n, G * dim] field vectors.
        first: [n, H] their terms of the first top layer.
    """

    fields: Tensor
    first: Tensor


class DLRM(nn.Module):
    """Logit of a query and an item."""

    def __init__(self, config: DLRMConfig, schema: ModelSchema, items: ItemTensors) -> None:
        super().__init__()
        self.config, self.schema, self.items = config, schema, items
        dim, hidden = config.dim, config.top_dims[0]
        self.query_fields = FieldEmbeddings(schema.query_cardinalities(), dim)
        self.item_id = embedding(schema.cardinalities["item_id"], dim)
        self.item_fields = FieldEmbeddings(schema.item_cardinalities(), dim)
        self.text_scale, self.image_scale = ContentScale(items.text), ContentScale(items.image)
        self.text, self.image = nn.Linear(schema.text_dim, dim), nn.Linear(schema.image_dim, dim)
        self.bottom = mlp([len(QUERY_CONTINUOUS), *config.bottom_dims, dim])
        self.history: HistoryEncoder | None = None
        num_query, num_item = len(QUERY_CATEGORICALS), 3 + len(ITEM_CATEGORICALS)
        if config.history_length:
            self.history = HistoryEncoder(
                schema, items, dim=dim, num_heads=config.history_heads, id_dropout=config.id_dropout
            )
            num_query += self.history.num_vectors
        if config.price_in_bottom:
            self.bottom_price = nn.Linear(len(ITEM_CONTINUOUS), config.bottom_dims[0], bias=False)
            self.pair_first = nn.Linear(dim + num_query + num_item, hidden, bias=False)
        else:
            self.price = mlp([len(ITEM_CONTINUOUS), _PRICE_HIDDEN, dim])
            num_query, num_item = num_query + 1, num_item + 1
        self.query_first = nn.Linear(_num_pairs(num_query) + (0 if config.price_in_bottom else dim), hidden)
        self.item_first = nn.Linear(_num_pairs(num_item), hidden, bias=False)
        self.cross_first = nn.Linear(num_query * num_item, hidden, bias=False)
        self.age_first = nn.Embedding(NUM_ITEM_AGE_BUCKETS, hidden) if config.item_age else None
        self.score_first = nn.Linear(1, hidden, bias=False) if config.retrieval_score else None
        self.score_weight = nn.Parameter(torch.ones(())) if config.retrieval_score else None
        drop = [nn.Dropout(config.dropout)] if config.dropout else []
        self.top = nn.Sequential(nn.ReLU(), *drop, mlp([*config.top_dims, 1], config.dropout))
        self._prepared: ItemState | None = None

    def query_state(self, queries: QueryTensors) -> QueryState:
        """Everything of B queries that does not depend on the candidate."""
        parts = self.query_fields(queries.categorical)
        bottom: Tensor | None = None
        if self.config.price_in_bottom:
            bottom = self.bottom[0](queries.continuous)
        else:
            parts.append(self.bottom(queries.continuous))
        fields = torch.stack(parts, dim=1)
        if self.history is not None:
            vectors = self.history(self.items, queries.last(self.config.history_length))
            fields = torch.cat([fields, vectors], dim=1)
        first = _pair_dots(fields)
        if not self.config.price_in_bottom:
            first = torch.cat([parts[-1], first], dim=1)
        return QueryState(fields, self.query_first(first), bottom)

    def item_state(self, rows: Tensor) -> ItemState:
        """Everything of ItemRows [n] that does not depend on the query."""
        items = self.items
        ids = items.ids(rows, self.config.id_dropout if self.training else 0.0)
        parts = [self.item_id(ids), *self.item_fields(items.categorical[rows])]
        parts += [self.text(self.text_scale(items.text[rows])), self.image(self.image_scale(items.image[rows]))]
        if not self.config.price_in_bottom:
            parts.append(self.price(items.continuous[rows]))
        fields = torch.stack(parts, dim=1)
        return ItemState(fields.flatten(1), self.item_first(_pair_dots(fields)))

    def logits(self, state: QueryState, rows: Tensor, scores: Tensor, age_bucket: Tensor) -> Tensor:
        """Logits [B, C] of candidates.

        Args:
            state: of B queries.
            rows: ItemRows [B, C], or [1, C] where all queries share the candidates.
            scores: retrieval scores [B, C]; not read without `retrieval_score`.
            age_bucket: [B, C] int64; not read without `item_age`.
        """
        if self._prepared is not None:
            items, place = self._prepared, rows
        else:
            used, place = unique_rows(rows, len(self.items))
            items = self.item_state(used)
        num_groups, num_candidates = rows.shape
        fields = F.embedding(place, items.fields).view(num_groups, -1, self.config.dim)  # [B or 1, C * G, dim]
        cross = torch.matmul(fields, state.fields.transpose(1, 2)).view(len(state.fields), num_candidates, -1)
        hidden = self.cross_first(cross) + F.embedding(place, items.first) + state.first[:, None]
        if state.bottom is not None:
            hidden = hidden + self._bottom_terms(state, fields, rows)
        if self.age_first is not None:
            hidden = hidden + self.age_first(age_bucket)
        if self.score_first is None or self.score_weight is None:
            return self.top(hidden).squeeze(-1)  # type: ignore[no-any-return]
        logits: Tensor = self.top(hidden + self.score_first(scores[..., None])).squeeze(-1)
        return logits + self.score_weight * scores

    def score(
        self, queries: QueryTensors, rows: Tensor, owners: Tensor, retrieval_scores: Tensor, age_bucket: Tensor
    ) -> Tensor:
        """Logits [T] of ragged candidates; see `Ranker.score`."""
        lengths = torch.bincount(owners, minlength=len(queries))
        longest = int(lengths.max()) if len(rows) else 0
        column = torch.arange(len(rows), device=rows.device) - (lengths.cumsum(0) - lengths)[owners]
        place = owners * longest + column

        def padded(values: Tensor) -> Tensor:
            return values.new_zeros(len(queries) * longest).index_copy(0, place, values).view(len(queries), longest)

        grid = self.logits(self.query_state(queries), padded(rows), padded(retrieval_scores), padded(age_bucket))
        return grid.flatten()[place]

    def prepare(self) -> None:
        """Computes what depends on weights and catalogue only, for scoring with fixed weights."""
        self._prepared = self.item_state(torch.arange(len(self.items), device=self.items.encoded_id.device))
        if self.history is not None:
            self.history.prepare(self.items)

    def _bottom_terms(self, state: QueryState, item_fields: Tensor, rows: Tensor) -> Tensor:
        """Terms of the first top layer that the bottom vector of each query and item gives, [B, C, H]."""
        assert state.bottom is not None
        hidden = state.bottom[:, None] + self.bottom_price(self.items.continuous[rows])
        bottom = self.bottom[1:](hidden)  # [B, C, dim]
        with_query = torch.matmul(bottom, state.fields.transpose(1, 2))
        per_item = item_fields.view(*rows.shape, -1, self.config.dim)
        with_item = torch.einsum("bcd,bcgd->bcg", bottom, per_item.expand(len(bottom), -1, -1, -1))
        terms: Tensor = self.pair_first(torch.cat([bottom, with_query, with_item], dim=2))
        return terms


def _num_pairs(count: int) -> int:
    return count * (count - 1) // 2


def _pair_dots(fields: Tensor) -> Tensor:
    """Dot products of all pairs of fields [n, F, dim] -> [n, F * (F - 1) / 2]."""
    first, second = torch.triu_indices(fields.shape[1], fields.shape[1], offset=1, device=fields.device)
    return torch.bmm(fields, fields.transpose(1, 2))[:, first, second]
