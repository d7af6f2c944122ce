"""DLRM, computed in parts: what the query alone gives, what the item alone gives, and their products.

Dot products of all pairs of field vectors and the bottom vector go through a top MLP (Naumov et al., "Deep Learning
Recommendation Model for Personalization and Recommendation Systems", 2019). The first top layer is linear in its
inputs, so its terms of query-query pairs are computed once a query, those of item-item pairs once an item, and only
query-item pairs are computed for each candidate. The result is that of the plain form.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

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
from training.models.inputs import CandidateGroup, ItemTensors, QueryTensors
from training.models.layers import ContentScale, FieldEmbeddings, embedding, mlp, unique_rows, without_some_users
from training.models.schema import ModelSchema

_PRICE_HIDDEN: Final = 32
_PAST_VECTORS: Final = 3
_NUM_OCCURRENCES: Final = 2
_BLOCK_CANDIDATES: Final = 2_400


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
    """Attention heads that pool the history, each a field; how often the candidate occurs there is an input too."""
    item_age: bool = True
    """Whether the item's age at the time of the request is an input."""
    retrieval_score: bool = True
    """Whether the retrieval score is an input, also added to the logit with a weight that starts at 1."""
    popularity: bool = False
    """Whether the item's popularity at the start of the request's day is an input: interactions, fading with time."""
    id_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Probability that an item's id is out of vocabulary in a training step, for all its places at once."""
    user_dropout: float = Field(default=0.5, ge=0, lt=1)
    """Probability that a user's id is out of vocabulary in a training row: what the history tells is not learned by
    heart."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout after the top's hidden layers."""


@dataclass(frozen=True)
class QueryState:
    """What the query alone gives.

    Attributes:
        fields: [B, F, dim] field vectors.
        first: [B, H] its terms of the first top layer.
        bottom: [B, H'] its terms of the first bottom layer, or None where the price is no input of the bottom.
        past: [B, G, 3, dim] item fields of the history, see `DLRM.past_fields`; None without history.
    """

    fields: Tensor
    first: Tensor
    bottom: Tensor | None
    past: Tensor | None

    def __getitem__(self, part: slice) -> QueryState:
        """Some of the queries."""
        tensors = (self.fields, self.first, self.bottom, self.past)
        return QueryState(*(None if tensor is None else tensor[part] for tensor in tensors))  # type: ignore[arg-type]


@dataclass(frozen=True)
class ItemState:
    """What n items alone give.

    Attributes:
        fields: [G, n, dim] field vectors.
        first: [n, H] their terms of the first top layer.
    """

    fields: Tensor
    first: Tensor

    def fields_of(self, place: Tensor) -> Tensor:
        """Field vectors [..., G, m, dim] of the items at places [..., m]."""
        return F.embedding(self.table_rows(place), self.fields.flatten(0, 1))

    def table_rows(self, place: Tensor) -> Tensor:
        """Rows [..., G, m] of `fields` as one table [G * n, dim], for places [..., m]."""
        num_fields, count = self.fields.shape[:2]
        return place[..., None, :] + torch.arange(0, num_fields * count, count, device=place.device)[:, None]


class DLRM(nn.Module):
    """Logit of a query and an item."""

    def __init__(self, config: DLRMConfig, schema: ModelSchema, items: ItemTensors) -> None:
        super().__init__()
        self.config, self.schema, self.items = config, schema, items
        dim = config.dim
        self.query_fields = FieldEmbeddings(schema.query_cardinalities(), dim)
        self.item_id = embedding(schema.cardinalities["item_id"], dim)
        self.item_fields = FieldEmbeddings(schema.item_cardinalities(), dim)
        self.text_scale, self.image_scale = ContentScale(items.text), ContentScale(items.image)
        self.text, self.image = nn.Linear(schema.text_dim, dim), nn.Linear(schema.image_dim, dim)
        self.bottom = mlp([len(QUERY_CONTINUOUS), *config.bottom_dims, dim])
        self.history: HistoryEncoder | None = None
        if config.history_length:
            self.history = HistoryEncoder(
                schema, items, dim=dim, num_heads=config.history_heads, id_dropout=config.id_dropout
            )
        self._build_top()
        self._prepared: ItemState | None = None

    def _build_top(self) -> None:
        """The first top layer in parts, by what each input depends on, and the layers after it."""
        config, dim, hidden = self.config, self.config.dim, self.config.top_dims[0]
        num_query, num_item = len(QUERY_CATEGORICALS), 3 + len(ITEM_CATEGORICALS)
        if self.history is not None:
            num_query += self.history.num_vectors
        if config.price_in_bottom:
            self.bottom_price = nn.Linear(len(ITEM_CONTINUOUS), config.bottom_dims[0], bias=False)
            self.pair_first = nn.Linear(dim + num_query + num_item, hidden, bias=False)
            query_inputs = _num_pairs(num_query)
        else:
            self.price = mlp([len(ITEM_CONTINUOUS), _PRICE_HIDDEN, dim])
            num_query, num_item = num_query + 1, num_item + 1
            query_inputs = dim + _num_pairs(num_query)
        self.query_first = nn.Linear(query_inputs, hidden)
        self.item_first = nn.Linear(_num_pairs(num_item), hidden, bias=False)
        cross_inputs = num_query * num_item
        if self.history is not None:
            cross_inputs += _PAST_VECTORS * num_item + _NUM_OCCURRENCES
        cross_inputs += NUM_ITEM_AGE_BUCKETS if config.item_age else 0
        cross_inputs += int(config.retrieval_score) + int(config.popularity)
        self.joint_first = nn.Linear(cross_inputs, hidden, bias=False)
        self.score_weight = nn.Parameter(torch.ones(())) if config.retrieval_score else None
        drop = [nn.Dropout(config.dropout)] if config.dropout else []
        self.top = nn.Sequential(nn.ReLU(inplace=True), *drop, mlp([*config.top_dims, 1], config.dropout))

    def query_state(self, queries: QueryTensors, past: Tensor | None) -> QueryState:
        """Everything of B queries that does not depend on the candidate; `past` as in `QueryState`."""
        dropout = self.config.user_dropout if self.training else 0.0
        parts = self.query_fields(without_some_users(queries.categorical, dropout))
        if self.config.price_in_bottom:
            bottom = self.bottom[0](queries.continuous)
        else:
            bottom = None
            parts.append(self.bottom(queries.continuous))
        fields = torch.stack(parts, dim=1)
        if self.history is not None:
            fields = torch.cat([fields, self.history(self.items, queries)], dim=1)
        first = _pair_dots(fields)
        if bottom is None:
            first = torch.cat([parts[-1], first], dim=1)
        return QueryState(fields, self.query_first(first), bottom, past)

    def item_state(self, rows: Tensor, hidden: Tensor | None = None) -> ItemState:
        """Everything of ItemRows [n] that does not depend on the query; ids of `hidden` [n] are out of vocabulary."""
        items = self.items
        ids = items.ids(rows, self.config.id_dropout if self.training else 0.0, hidden)
        parts = [self.item_id(ids), *self.item_fields(items.categorical[rows])]
        parts += [self.text(self.text_scale(items.text[rows])), self.image(self.image_scale(items.image[rows]))]
        if not self.config.price_in_bottom:
            parts.append(self.price(items.continuous[rows]))
        fields = torch.stack(parts, dim=1)
        return ItemState(fields.transpose(0, 1).contiguous(), self.item_first(_pair_dots(fields)))

    def past_fields(self, queries: QueryTensors, items: ItemState, place: Tensor) -> Tensor:
        """Item fields of the history [B, G, 3, dim]: of the last item, of it while its session goes on, mean of all.

        They share the tables of the candidates: a dot with the candidate's field tells from the first step on whether
        both have the same category, a near price, a like picture.

        Args:
            queries: B queries with histories of N.
            items: item fields of all their interactions.
            place: [B, N] where each interaction is in `items`.
        """
        valid = (queries.history_rows >= 0).to(items.fields.dtype)
        weights = valid / valid.sum(dim=1, keepdim=True).clamp(min=1)
        bags = items.table_rows(place)  # [B, G, N]
        mean = F.embedding_bag(
            bags.flatten(0, 1),
            items.fields.flatten(0, 1),
            mode="sum",
            per_sample_weights=weights[:, None].expand(bags.shape).flatten(0, 1),
        )
        last = items.fields_of(place[:, :1]) * valid[:, :1, None, None]
        in_session = last * queries.same_session[:, :1, None, None]
        return torch.cat([last, in_session, mean.view_as(last)], dim=2)

    def logits(self, queries: QueryTensors, *groups: CandidateGroup) -> Tensor:
        """Logits [B, C of all groups]; see `Ranker.logits`."""
        queries = queries.last(self.config.history_length)
        rows = [queries.history_rows.clamp(min=0), *(group.rows for group in groups)]
        items = self._prepared
        if items is None:
            items, rows = self._items_of(rows, [None, *(group.hidden for group in groups)])
        history, *places = rows
        past = None if self.history is None else self.past_fields(queries, items, history)
        state = self.query_state(queries, past)
        parts = [
            self._group_logits(queries, state, items, part, group) for part, group in zip(places, groups, strict=True)
        ]
        return torch.cat(parts, dim=1)

    def _items_of(self, rows: list[Tensor], hidden: list[Tensor | None]) -> tuple[ItemState, list[Tensor]]:
        """The state of all items of several arrays of ItemRows, and where each is in it.

        An item that is hidden in some places is there twice, with its id and without.
        """
        flat = torch.cat([part.flatten() for part in rows])
        used, place = unique_rows(flat, len(self.items))
        flags = None
        if any(part is not None for part in hidden):
            parts = [
                torch.zeros_like(like, dtype=torch.bool) if part is None else part
                for part, like in zip(hidden, rows, strict=True)
            ]
            where = torch.cat([part.flatten() for part in parts]).nonzero().flatten()
            flags = torch.arange(len(used) + len(where), device=flat.device) >= len(used)
            place = place.index_copy(0, where, torch.arange(len(used), len(flags), device=flat.device))
            used = torch.cat([used, flat[where]])
        pieces = torch.split(place, [part.numel() for part in rows])
        return self.item_state(used, flags), [piece.view_as(like) for piece, like in zip(pieces, rows, strict=True)]

    def score(
        self,
        queries: QueryTensors,
        rows: Tensor,
        owners: Tensor,
        retrieval_scores: Tensor,
        age_bucket: Tensor,
        popularity: Tensor | None = None,
    ) -> Tensor:
        """Logits [T] of ragged candidates; see `Ranker.score`."""
        if not len(rows):
            return retrieval_scores.new_zeros(0)
        if len(queries) == 1:
            alone = None if popularity is None else popularity[None]
            group = CandidateGroup(rows[None], retrieval_scores[None], age_bucket[None], alone)
            return self.logits(queries, group)[0]
        lengths = torch.bincount(owners, minlength=len(queries))
        longest = int(lengths.max())
        column = torch.arange(len(rows), device=rows.device) - (lengths.cumsum(0) - lengths)[owners]
        place = owners * longest + column

        def padded(values: Tensor) -> Tensor:
            return values.new_zeros(len(queries) * longest).index_copy(0, place, values).view(len(queries), longest)

        group = CandidateGroup(
            padded(rows),
            padded(retrieval_scores),
            padded(age_bucket),
            None if popularity is None else padded(popularity),
        )
        return self.logits(queries, group).flatten()[place]

    def prepare(self) -> None:
        """Computes what depends on weights and catalogue only, for scoring with fixed weights."""
        self._prepared = self.item_state(torch.arange(len(self.items), device=self.items.encoded_id.device))
        if self.history is not None:
            self.history.prepare(self.items)

    def _group_logits(
        self, queries: QueryTensors, state: QueryState, items: ItemState, place: Tensor, group: CandidateGroup
    ) -> Tensor:
        """Logits [B, C] of one group; `place` [B or 1, C] tells where its items are in `items`.

        Outside training on a CPU it goes in blocks whose vectors fit into a core's cache.
        """
        size, count = group.age_bucket.shape
        if torch.is_grad_enabled() or place.is_cuda or size * count <= _BLOCK_CANDIDATES:
            return self._block_logits(queries, state, items, place, group)
        step = max(1, _BLOCK_CANDIDATES // count)
        parts = [slice(start, start + step) for start in range(0, size, step)]
        blocks = [
            self._block_logits(
                queries[part], state[part], items, place if len(place) == 1 else place[part], group[part]
            )
            for part in parts
        ]
        return torch.cat(blocks)

    def _block_logits(
        self, queries: QueryTensors, state: QueryState, items: ItemState, place: Tensor, group: CandidateGroup
    ) -> Tensor:
        fields = items.fields_of(place)  # [B or 1, G, C, dim]
        inputs = [_dots(fields, state)]
        if state.past is not None:
            inputs.append(occurrences(queries, group.rows))
        if self.config.item_age:
            inputs.append(_one_hot(group.age_bucket, NUM_ITEM_AGE_BUCKETS))
        if self.config.retrieval_score:
            inputs.append(group.scores[..., None])
        if self.config.popularity:
            if group.popularity is None:
                raise ValueError("this ranker reads the popularity of its candidates, got none")
            inputs.append(group.popularity[..., None])
        cross = inputs[0] if len(inputs) == 1 else torch.cat(inputs, dim=2)
        hidden = self.joint_first(cross)
        hidden += F.embedding(place, items.first)
        hidden += state.first[:, None]
        if state.bottom is not None:
            hidden += self._bottom_terms(state, state.bottom, fields, group.rows)
        logits: Tensor = self.top(hidden).squeeze(-1)
        return logits if self.score_weight is None else logits + self.score_weight * group.scores

    def _bottom_terms(self, state: QueryState, bottom: Tensor, item_fields: Tensor, rows: Tensor) -> Tensor:
        """Terms of the first top layer that the bottom vector of each query and item gives, [B, C, H]."""
        hidden = bottom[:, None] + self.bottom_price(self.items.continuous[rows])
        vectors = self.bottom[1:](hidden)  # [B, C, dim]
        with_query = torch.matmul(vectors, state.fields.transpose(1, 2))
        with_item = (item_fields.transpose(1, 2) * vectors[:, :, None]).sum(dim=3)
        terms: Tensor = self.pair_first(torch.cat([vectors, with_query, with_item], dim=2))
        return terms


def _dots(fields: Tensor, state: QueryState) -> Tensor:
    """Dots of every field of the candidates with the fields of the query and with its own of the history.

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
        dots = torch.einsum("gcd,bgvd->bcgv", fields[0], vectors)
    else:
        dots = torch.matmul(fields, vectors.transpose(2, 3)).transpose(1, 2)
    return dots.flatten(2)


def occurrences(queries: QueryTensors, rows: Tensor) -> Tensor:
    """How often candidates [B or 1, C] occur in the history: log(1 + times), and whether in this session, [B, C, 2]."""
    same = (rows[..., None] == queries.history_rows[:, None]).float()
    in_session = queries.same_session.float()
    times = torch.matmul(same, torch.stack([torch.ones_like(in_session), in_session], dim=2))
    return torch.stack([times[..., 0].log1p(), times[..., 1].clamp(max=1)], dim=2)


def _one_hot(codes: Tensor, count: int) -> Tensor:
    return (codes[..., None] == torch.arange(count, device=codes.device)).float()


def _num_pairs(count: int) -> int:
    return count * (count - 1) // 2


def _pair_dots(fields: Tensor) -> Tensor:
    """Dot products of all pairs of fields [n, F, dim] -> [n, F * (F - 1) / 2]."""
    dots = torch.bmm(fields, fields.transpose(1, 2)).flatten(1)
    return dots.index_select(1, _upper_triangle(fields.shape[1], fields.device))


@lru_cache
def _upper_triangle(size: int, device: torch.device) -> Tensor:
    """Places above the diagonal of a flattened matrix."""
    with torch.inference_mode(False):  # it is used in training, too
        first, second = torch.triu_indices(size, size, offset=1, device=device)
        places: Tensor = first * size + second
        return places
