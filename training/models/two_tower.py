"""The two-tower retrieval model: query · candidate, plus a bias by the item's age."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from contracts.clock import ShopCalendar
from contracts.config import StrictConfig
from contracts.features import NUM_ITEM_AGE_BUCKETS, item_age_bucket
from contracts.ids import LongArray
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
from training.models.sequence import SequenceEncoder, TransformerConfig
from training.models.windows import Windows


class TwoTowerConfig(StrictConfig):
    """Shape of both towers. The defaults are ours; the reference has no history, item age, dropout or wider layers."""

    output_dim: int = Field(default=64, ge=1)
    """Width of query and candidate embeddings."""
    hidden_dims: tuple[int, ...] = (128,)
    """Hidden layers of both towers."""
    continuous_dim: int = Field(default=8, ge=1)
    """Width of the linear projection of a tower's continuous features."""
    history: Literal["pooled", "transformer"] = "pooled"
    """How the query tower reads the history: pooled by weights of item, age and session, or by a transformer, which is
    trained on windows of `history_length` events."""
    history_length: int = Field(default=32, ge=0)
    """Last interactions that the query tower reads; 0 for none."""
    history_days: int = Field(default=30, ge=1)
    """Interactions older than this are not read."""
    history_dim: int = Field(default=64, ge=1)
    """Width of the history's item vectors."""
    history_heads: int = Field(default=4, ge=1)
    """Attention heads that pool the history, or of the transformer."""
    transformer: TransformerConfig = TransformerConfig()
    """Shape of the transformer; unused with history=pooled."""
    id_vector: bool = False
    """Whether an item's id is a vector of full width, added to that of the content, instead of an input beside it."""
    item_bias: bool = False
    """Whether an item has a bias, which starts at the logarithm of its count; embeddings have one more component."""
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

    @model_validator(mode="after")
    def _transformer_fits(self) -> Self:
        if self.history == "transformer" and self.history_length == 0:
            raise ValueError("history=transformer with history_length=0: a transformer needs a history; set its length")
        if self.history == "transformer" and self.history_dim % self.history_heads:
            raise ValueError(
                f"history=transformer with history_dim={self.history_dim} and history_heads={self.history_heads}: "
                "all heads have an equal share of the width; set a multiple"
            )
        return self


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
        self.history: HistoryEncoder | SequenceEncoder | None = None
        if config.history_length:
            self.history = _history_encoder(config, schema, items)
            history_width = self.history.num_vectors * config.history_dim
            width += history_width + 1
            self.shortcut = nn.Linear(history_width, config.output_dim, bias=False)
        self.mlp = mlp([width, *config.hidden_dims, config.output_dim], config.dropout)

    def forward(self, items: ItemTensors, queries: QueryTensors, windows: Windows | None = None) -> Tensor:
        """Embeddings [B, output_dim]; histories are those of the queries, or just before B events of windows."""
        columns = without_some_users(queries.columns, self.user_column, self.user_dropout if self.training else 0.0)
        parts = [*self.fields(columns), self.numbers(columns.numbers), *columns.vectors]
        if self.history is None:
            return self._embed(parts)
        if windows is None:
            queries = queries.last(self.history_length)
            count = (queries.history_rows >= 0).sum(dim=1, keepdim=True)
            history = self.history(items, queries).flatten(1)
        else:
            assert isinstance(self.history, SequenceEncoder)
            vectors, count = self.history.at_events(items, windows)
            history = vectors.flatten(1)
        shortcut: Tensor = self.shortcut(history)
        return self._embed([*parts, history, count.float().log1p()]) + shortcut

    def _embed(self, parts: list[Tensor]) -> Tensor:
        embeddings: Tensor = self.mlp(torch.cat(parts, dim=1))
        return embeddings


class CandidateTower(nn.Module):
    """Item features to an embedding [n, output_dim]."""

    def __init__(self, config: TwoTowerConfig, schema: ModelSchema, items: ItemTensors) -> None:
        super().__init__()
        self.id_vector = config.id_vector
        rows = schema.num_item_ids
        self.item_id = embedding(rows, config.output_dim if config.id_vector else embedding_dim(rows))
        self.fields = FieldEmbeddings(schema.item)
        self.numbers = linear(len(schema.item.numbers), config.continuous_dim)
        self.vectors = content_scales(items)
        width = self.fields.width + config.continuous_dim + sum(schema.item.vectors.values())
        width += 0 if config.id_vector else embedding_dim(rows)
        self.mlp = mlp([width, *config.hidden_dims, config.output_dim], config.dropout)

    def forward(self, items: ItemTensors, rows: Tensor, ids: Tensor) -> Tensor:
        """Embeddings [n, output_dim] of ItemRows [n] with encoded ids [n]."""
        columns, of_id = items.of(rows), self.item_id(ids)
        vectors = [scale(vector) for scale, vector in zip(self.vectors, columns.vectors, strict=True)]
        content = [*self.fields(columns), self.numbers(columns.numbers), *vectors]
        if not self.id_vector:
            content = [of_id, *content]
        embeddings: Tensor = self.mlp(torch.cat(content, dim=1))
        return embeddings + of_id if self.id_vector else embeddings


class TwoTower(nn.Module):
    """Scores of a query and an item: query · candidate / temperature + bias[age bucket of the item].

    The bias is not part of the embeddings, because it changes with the day and the index does not. The query embedding
    is divided by the temperature, so that callers compute a plain product. An item's own bias is the last component of
    its embedding; that of a query is 1 there.
    """

    age_bias: Tensor

    def __init__(self, config: TwoTowerConfig, schema: ModelSchema, items: ItemTensors) -> None:
        super().__init__()
        self.config, self.schema, self.items = config, schema, items
        self.query_tower = QueryTower(config, schema, items)
        self.candidate_tower = CandidateTower(config, schema, items)
        self.item_bias = nn.Parameter(torch.zeros(schema.num_item_ids)) if config.item_bias else None
        bias = torch.zeros(NUM_ITEM_AGE_BUCKETS)
        if config.item_age:
            self.age_bias = nn.Parameter(bias)
        else:
            self.register_buffer("age_bias", bias)

    @torch.no_grad()
    def start_from_counts(self, counts: Tensor) -> None:
        """Sets each item's bias to log((1 + count) / mean of it); items that share an id share the mean of theirs.

        Args:
            counts: training positives [I].
        """
        if self.item_bias is None:
            return
        ids, logs = self.items.encoded_id.long(), (counts + 1).double().log()
        logs -= (counts + 1).double().mean().log()
        sums, shared = torch.zeros(2, len(self.item_bias), dtype=torch.float64, device=logs.device)
        sums.index_add_(0, ids, logs)
        shared.index_add_(0, ids, torch.ones_like(logs))
        self.item_bias.copy_(sums / shared.clamp(min=1))

    def query(self, queries: QueryTensors, windows: Windows | None = None) -> Tensor:
        """Query embeddings [B, E].

        Args:
            queries: B queries.
            windows: their histories are those just before B events of these windows; None = the queries' own.
        """
        embeddings = self._normalised(self.query_tower(self.items, queries, windows)) / self.config.temperature
        if self.item_bias is None:
            return embeddings
        return torch.cat([embeddings, embeddings.new_ones(len(embeddings), 1)], dim=1)

    def candidate(self, rows: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Candidate embeddings [n, E] of ItemRows [n]; `hidden` [n] bool marks ids to treat as out of vocabulary."""
        ids = self.items.ids(rows, self.config.id_dropout if self.training else 0.0, hidden)
        embeddings = self._normalised(self.candidate_tower(self.items, rows, ids))
        return embeddings if self.item_bias is None else torch.cat([embeddings, self.item_bias[ids][:, None]], dim=1)

    def day_bias(self, launched_at: LongArray, now: LongArray, calendar: ShopCalendar) -> Tensor:
        """Bias of items by their age at the start of the days of queries, [B, I].

        Args:
            launched_at: of the items, Unix seconds [I].
            now: of the queries, Unix seconds [B].
            calendar: the shop's.
        """
        days, place = np.unique(calendar.day(now), return_inverse=True)
        starts = np.array([calendar.start_of_day(int(day)) for day in days], dtype=np.int64)
        buckets = torch.from_numpy(item_age_bucket(launched_at, starts[:, None]).astype(np.int64))
        return self.age_bias[buckets.to(self.age_bias.device)][torch.from_numpy(place).to(self.age_bias.device)]

    def prepare(self) -> None:
        """Computes what depends on weights and catalogue only, for scoring with fixed weights."""
        if self.query_tower.history is not None:
            self.query_tower.history.prepare(self.items)

    def _normalised(self, embeddings: Tensor) -> Tensor:
        return F.normalize(embeddings, dim=1) if self.config.normalise else embeddings


def _history_encoder(
    config: TwoTowerConfig, schema: ModelSchema, items: ItemTensors
) -> HistoryEncoder | SequenceEncoder:
    dim, num_heads, id_dropout = config.history_dim, config.history_heads, config.id_dropout
    if config.history == "pooled":
        return HistoryEncoder(schema, items, dim=dim, num_heads=num_heads, id_dropout=id_dropout)
    return SequenceEncoder(
        config.transformer,
        schema,
        items,
        dim=dim,
        num_heads=num_heads,
        length=config.history_length,
        history_days=config.history_days,
        id_dropout=id_dropout,
    )
