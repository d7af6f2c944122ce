"""Transformer over a subject's history: causal, with biases by time, place and session instead of position vectors.

The last block reads the history from the time of the request; the blocks before it read it from the time of each
interaction (compare Kang and McAuley, "Self-Attentive Sequential Recommendation", 2018; the biases are those of Zhai et
al., "Actions Speak Louder than Words", 2024). One code path computes a single history, of a request, and all histories
of a window of events, in training: both give the same vectors where they hold the same interactions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from contracts.clock import DAY_S
from contracts.config import StrictConfig
from contracts.features import SESSION_GAP_S
from training.models.history import AGE_BUCKETS, ItemEncoder, age_bucket
from training.models.inputs import ItemTensors, QueryTensors
from training.models.layers import embedding, unique_rows
from training.models.schema import ModelSchema
from training.models.windows import Windows

_EXCLUDED: Final = -1e9


class TransformerConfig(StrictConfig):
    """Shape of the transformer; its width, heads and length are those of the history."""

    blocks: int = Field(default=1, ge=1, le=4)
    """Blocks of attention and feed-forward network. With one, serving reads prepared keys and values of the items."""
    feed_forward: int = Field(default=2, ge=1)
    """Width of the feed-forward network, as a multiple of the block's."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout of the items' vectors and of what a block adds."""
    time_bias: bool = True
    """Whether attention depends on the time between reader and interaction."""
    position_bias: bool = True
    """Whether attention depends on the number of interactions between them."""
    session_bias: bool = True
    """Whether attention depends on whether both belong to one session."""


@dataclass(frozen=True)
class Relation:
    """How Q readers see N interactions; all are [B, Q, N].

    Attributes:
        age_s: float32 seconds from the interaction to the reader.
        distance: int64 interactions between; may be [1, Q, N].
        same_session: bool.
        mask: bool, interactions that the reader may read.
    """

    age_s: Tensor
    distance: Tensor
    same_session: Tensor
    mask: Tensor


class Block(nn.Module):
    """Attention of readers over interactions, then a feed-forward network; both are added to the readers' vectors."""

    def __init__(self, config: TransformerConfig, dim: int, num_heads: int, length: int) -> None:
        super().__init__()
        self.dim, self.num_heads, self.config = dim, num_heads, config
        self.norm, self.norm_out = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.project = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        hidden = config.feed_forward * dim
        self.feed_forward = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(config.dropout)
        if config.time_bias:
            self.by_age = embedding(AGE_BUCKETS, num_heads)
        if config.position_bias:
            self.by_distance = embedding(length, num_heads)
        if config.session_bias:
            self.by_session = nn.Parameter(torch.zeros(num_heads))

    def projected(self, vectors: Tensor) -> Tensor:
        """Query, key and value of each vector, [..., 3 * dim]."""
        found: Tensor = self.project(self.norm(vectors))
        return found

    def forward(self, readers: Tensor, queries: Tensor, keys_values: Tensor, relation: Relation) -> Tensor:
        """New vectors of the readers [B, Q, dim].

        Args:
            readers: [B, Q, dim].
            queries: of the readers, from `projected`, [B, Q, dim].
            keys_values: of N interactions, from `projected`, [B, N, 2 * dim].
            relation: between both.
        """
        keys, values = (self._heads(part) for part in keys_values.chunk(2, dim=2))
        scores = self._heads(queries / math.sqrt(self.dim / self.num_heads)) @ keys.transpose(2, 3)
        weights = self._biased(scores, relation).masked_fill(~relation.mask[:, None], _EXCLUDED).softmax(dim=3)
        read = (weights @ values).transpose(1, 2).flatten(2)
        readers = readers + self.dropout(self.out(read))
        new: Tensor = readers + self.dropout(self.feed_forward(self.norm_out(readers)))
        return new

    def _heads(self, vectors: Tensor) -> Tensor:
        """[B, N, dim] as [B, heads, N, dim / heads]."""
        return vectors.view(*vectors.shape[:2], self.num_heads, -1).transpose(1, 2)

    def _biased(self, scores: Tensor, relation: Relation) -> Tensor:
        """Scores [B, heads, Q, N] plus the biases."""
        if self.config.time_bias:
            scores = scores + self.by_age(age_bucket(relation.age_s)).permute(0, 3, 1, 2)
        if self.config.position_bias:
            scores = scores + self.by_distance(relation.distance).permute(0, 3, 1, 2)
        if self.config.session_bias:
            scores = scores + relation.same_session[:, None] * self.by_session[:, None, None]
        return scores


class SequenceEncoder(nn.Module):
    """Query-side vectors of a history; V = 3 vectors of `dim`.

    They are the last block's vector, read from the last item at the time of the request; the last item's own; and that
    again if it is in this session. An empty history gives zeros.

    Args:
        config: of the blocks.
        schema: sizes of the items' inputs.
        items: the catalogue.
        dim: width.
        num_heads: attention heads.
        length: most interactions that are read.
        history_days: older ones are not read.
        id_dropout: see `ItemEncoder`.
    """

    num_vectors: Final = 3

    def __init__(
        self,
        config: TransformerConfig,
        schema: ModelSchema,
        items: ItemTensors,
        *,
        dim: int,
        num_heads: int,
        length: int,
        history_days: int,
        id_dropout: float,
    ) -> None:
        super().__init__()
        self.dim, self.limit_s = dim, history_days * DAY_S
        self.encoder = ItemEncoder(schema, items, dim, id_dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, dim, num_heads, length) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(dim)
        self.last_age = embedding(AGE_BUCKETS, dim)
        self._prepared: tuple[ItemTensors, Tensor, Tensor] | None = None

    def prepare(self, items: ItemTensors) -> None:
        """Computes vectors of the whole catalogue and their part of the first block, for scoring with fixed weights."""
        vectors = self.encoder(items, torch.arange(len(items), device=items.encoded_id.device))
        self._prepared = items, vectors, self._block(0).projected(vectors)

    def forward(self, items: ItemTensors, queries: QueryTensors) -> Tensor:
        """Vectors [B, V, dim] of the histories of requests."""
        rows, age_s = queries.history_rows, queries.history_age_s
        valid = rows >= 0
        own, projected = self._of_items(items, rows)
        place = torch.arange(rows.shape[1], device=rows.device)

        def between() -> Relation:
            session = F.pad(age_s.diff(dim=1) >= SESSION_GAP_S, (1, 0)).cumsum(dim=1)
            return Relation(
                age_s=(age_s[:, None] - age_s[:, :, None]).clamp(min=0),
                distance=(place - place[:, None]).clamp(min=0)[None],
                same_session=session[:, None] == session[:, :, None],
                mask=valid[:, None] & (place >= place[:, None]),
            )

        vectors, projected = self._through_blocks(own, projected, between)
        now = Relation(age_s[:, None], place[None, None], queries.same_session[:, None], valid[:, None])
        keys_values = projected[..., self.dim :]
        read = self._last_block(vectors[:, :1], projected[:, :1, : self.dim], keys_values, now)[:, 0]
        return self._vectors(read, own[:, 0], age_s[:, 0], queries.same_session[:, 0], valid[:, 0])

    def at_events(self, items: ItemTensors, windows: Windows) -> tuple[Tensor, Tensor]:
        """Vectors [P, V, dim] and lengths [P, 1] of the histories just before P events, inside of their windows."""
        rows, times, following = windows.rows[:, :-1], windows.timestamps[:, :-1], windows.timestamps[:, 1:]
        own, projected = self._of_items(items, rows)
        place = torch.arange(rows.shape[1], device=rows.device)
        distance = (place[:, None] - place).clamp(min=0)[None]
        session = F.pad(times.diff(dim=1) >= SESSION_GAP_S, (1, 0)).cumsum(dim=1)
        same_session = session[:, :, None] == session[:, None]
        causal = (place[:, None] >= place) & (rows >= 0)[:, None]

        def relation(now: Tensor, in_session: Tensor) -> Relation:
            age_s = (now[:, :, None] - times[:, None]).clamp(min=0)
            return Relation(age_s.float(), distance, in_session, causal & (age_s <= self.limit_s))

        vectors, projected = self._through_blocks(own, projected, lambda: relation(times, same_session))
        age_s = (following - times).clamp(min=0)
        in_session = age_s < SESSION_GAP_S
        at_next = relation(following, same_session & in_session[:, :, None])
        read = self._last_block(vectors, projected[..., : self.dim], projected[..., self.dim :], at_next)
        before = windows.owners, (windows.places - 1).clamp(min=0)  # an event is read from the one before it
        known = (windows.places > 0) & (age_s[before] <= self.limit_s) & ~windows.anonymous
        found = self._vectors(read[before], own[before], age_s[before].float(), in_session[before], known)
        return found, (at_next.mask.sum(dim=2)[before] * known)[:, None]

    def _of_items(self, items: ItemTensors, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors [B, N, dim] of items by ItemRow [B, N], and their part of the first block [B, N, 3 * dim]."""
        rows = rows.clamp(min=0)
        if self._prepared is not None and self._prepared[0] is items:
            return F.embedding(rows, self._prepared[1]), F.embedding(rows, self._prepared[2])
        used, place = unique_rows(rows, len(items))
        vectors = self.dropout(F.embedding(place, self.encoder(items, used)))
        return vectors, self._block(0).projected(vectors)

    def _through_blocks(
        self, vectors: Tensor, projected: Tensor, relation: Callable[[], Relation]
    ) -> tuple[Tensor, Tensor]:
        """Vectors of all interactions after all blocks but the last, and their part of the last one.

        One block needs no relation between interactions, so it is not computed.
        """
        between = relation() if len(self.blocks) > 1 else None
        for number in range(len(self.blocks) - 1):
            queries, keys_values = projected[..., : self.dim], projected[..., self.dim :]
            vectors = self._block(number)(vectors, queries, keys_values, between)
            projected = self._block(number + 1).projected(vectors)
        return vectors, projected

    def _last_block(self, readers: Tensor, queries: Tensor, keys_values: Tensor, relation: Relation) -> Tensor:
        read: Tensor = self.norm(self._block(-1)(readers, queries, keys_values, relation))
        return read

    def _block(self, number: int) -> Block:
        return cast(Block, self.blocks[number])

    def _vectors(self, read: Tensor, own: Tensor, age_s: Tensor, in_session: Tensor, known: Tensor) -> Tensor:
        """Vectors [n, V, dim] from those of the last interactions [n, dim]; zeros where `known` [n] is false."""
        parts = [read + self.last_age(age_bucket(age_s)), own, own * in_session[:, None]]
        return torch.stack(parts, dim=1) * known[:, None, None]
