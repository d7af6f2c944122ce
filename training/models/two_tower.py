"""The two-tower retrieval model: query · candidate, plus a bias by the item's age."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from contracts.config import StrictConfig
from contracts.features import NUM_ITEM_AGE_BUCKETS
from training.models.history import HistoryEncoder
from training.models.inputs import ItemTensors, QueryTensors
from training.models.layers import (
    FieldEmbeddings,
    content_scales,
    embedding,
    embedding_dim,
    linear,
    mlp,
    without_some_users,
)
from training.models.schema import ModelSchema


class TwoTowerConfig(StrictConfig):
    """Shape of both towers. The defaults are ours; the reference has no history, item age, dropout or wider layers."""

    output_dim: int = Field(default=64, ge=1)
    """Width of query and candidate embeddings."""
    hidden_dims: tuple[int, ...] = (128,)
    """Hidden layers of both towers."""
    continuous_dim: int = Field(default=8, ge=1)
    """Width of the linear projection of a tower's continuous features."""
    history_length: int = Field(default=32, ge=0)
    """Last interactions that the query tower reads; 0 for none."""
    history_days: int = Field(default=30, ge=1)
    """Interactions older than this are not read."""
    history_dim: int = Field(default=64, ge=1)
    """Width of the history's item vectors."""
    history_heads: int = Field(default=4, ge=1)
    """Attention heads that pool the history."""
    item_age: bool = True
    """Whether an additive bias by item age is learned and added in retrieval."""
    id_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Probability that an item's id is out of vocabulary in a training step, everywhere in the batch."""
    user_dropout: float = Field(default=0.5, ge=0, lt=1)
    """Probability that a user's id is out of vocabulary in a training row, so that the model learns from the history
    instead of memorizing users."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout after the hidden layers."""
    normalise: bool = False
    """Whether embeddings are divided by their length before the product."""
    temperature: float = Field(default=1.0, gt=0)
    """Divisor of the product."""


class QueryTower(nn.Module):
    """Query features and history to an embedding [B, output_dim].

    The history's vectors also reach the embedding by a linear shortcut: "like the last item" is a product of two item
    vectors, which the narrow hidden layer would have to memorize.
    """

    def __init__(self, config: TwoTowerConfig, schema: ModelSchema, items: ItemTensors) -> None:
        super().__init__()
        self.history_length, self.user_dropout = config.history_length, config.user_dropout
        self.user_column = schema.query.user_column
        self.fields = FieldEmbeddings(schema.query)
        self.numbers = linear(len(schema.query.numbers), config.continuous_dim)
        width = self.fields.width + config.continuous_dim + sum(schema.query.vectors.values())
        self.history: HistoryEncoder | None = None
        if config.history_length:
            self.history = HistoryEncoder(
                schema, items, dim=config.history_dim, num_heads=config.history_heads, id_dropout=config.id_dropout
            )
            history_width = self.history.num_vectors * config.history_dim
            width += history_width + 1
            self.shortcut = nn.Linear(history_width, config.output_dim, bias=False)
        self.mlp = mlp([width, *config.hidden_dims, config.output_dim], config.dropout)

    def forward(self, items: ItemTensors, queries: QueryTensors) -> Tensor:
        """Embeddings [B, output_dim]."""
        columns = without_some_users(queries.columns, self.user_column, self.user_dropout if self.training else 0.0)
        parts = [*self.fields(columns), self.numbers(columns.numbers), *columns.vectors]
        if self.history is None:
            return self._embed(parts)
        queries = queries.last(self.history_length)
        count = (queries.history_rows >= 0).sum(dim=1, keepdim=True)
        history = self.history(items, queries).flatten(1)
        shortcut: Tensor = self.shortcut(history)
        return self._embed([*parts, history, count.float().log1p()]) + shortcut

    def _embed(self, parts: list[Tensor]) -> Tensor:
        embeddings: Tensor = self.mlp(torch.cat(parts, dim=1))
        return embeddings


class CandidateTower(nn.Module):
    """Item features to an embedding [n, output_dim]."""

    def __init__(self, config: TwoTowerConfig, schema: ModelSchema, items: ItemTensors) -> None:
        super().__init__()
        self.id_dropout = config.id_dropout
        rows = schema.num_item_ids
        self.item_id = embedding(rows, embedding_dim(rows))
        self.fields = FieldEmbeddings(schema.item)
        self.numbers = linear(len(schema.item.numbers), config.continuous_dim)
        self.vectors = content_scales(items)
        width = embedding_dim(rows) + self.fields.width + config.continuous_dim + sum(schema.item.vectors.values())
        self.mlp = mlp([width, *config.hidden_dims, config.output_dim], config.dropout)

    def forward(self, items: ItemTensors, rows: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Embeddings [n, output_dim] of ItemRows [n]; `hidden` [n] bool marks ids to treat as out of vocabulary."""
        ids, columns = items.ids(rows, self.id_dropout if self.training else 0.0, hidden), items.of(rows)
        vectors = [scale(vector) for scale, vector in zip(self.vectors, columns.vectors, strict=True)]
        parts = [self.item_id(ids), *self.fields(columns), self.numbers(columns.numbers), *vectors]
        embeddings: Tensor = self.mlp(torch.cat(parts, dim=1))
        return embeddings


class TwoTower(nn.Module):
    """Scores of a query and an item: query · candidate / temperature + bias[age bucket of the item].

    The bias is not part of the embeddings, because it changes with the day and the index does not. The query embedding
    is divided by the temperature, so that callers compute a plain product.
    """

    age_bias: Tensor

    def __init__(self, config: TwoTowerConfig, schema: ModelSchema, items: ItemTensors) -> None:
        super().__init__()
        self.config, self.schema, self.items = config, schema, items
        self.query_tower = QueryTower(config, schema, items)
        self.candidate_tower = CandidateTower(config, schema, items)
        bias = torch.zeros(NUM_ITEM_AGE_BUCKETS)
        if config.item_age:
            self.age_bias = nn.Parameter(bias)
        else:
            self.register_buffer("age_bias", bias)

    def query(self, queries: QueryTensors) -> Tensor:
        """Query embeddings [B, E]."""
        return self._normalised(self.query_tower(self.items, queries)) / self.config.temperature

    def candidate(self, rows: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Candidate embeddings [n, E] of ItemRows [n]; `hidden` [n] bool marks ids to treat as out of vocabulary."""
        return self._normalised(self.candidate_tower(self.items, rows, hidden))

    def prepare(self) -> None:
        """Computes what depends on weights and catalogue only, for scoring with fixed weights."""
        if self.query_tower.history is not None:
            self.query_tower.history.prepare(self.items)

    def _normalised(self, embeddings: Tensor) -> Tensor:
        return F.normalize(embeddings, dim=1) if self.config.normalise else embeddings
