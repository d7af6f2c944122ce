"""DLRM, computed in parts: those of the query alone, those of the item alone, and their products.

Dot products of all pairs of field vectors and the bottom vector go through a top MLP (Naumov et al., "Deep Learning
Recommendation Model for Personalization and Recommendation Systems", 2019). The first top layer is linear in its
inputs, so its terms of query-query pairs are computed once a query, those of item-item pairs once an item, and only
query-item pairs are computed for each candidate. The result equals that of the plain form.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contracts.features import NUM_ITEM_AGE_BUCKETS
from training.models.dlrm.config import DLRMConfig, check_config
from training.models.dlrm.fields import SideFields
from training.models.dlrm.interactions import ItemState, QueryState, dots, num_pairs, occurrences, one_hot, pair_dots
from training.models.history import HistoryEncoder
from training.models.inputs import CandidateGroup, ItemTensors, PairTensors, QueryTensors
from training.models.layers import (
    embedding,
    linear,
    mlp,
    unique_rows,
    without_some_users,
)
from training.models.schema import ModelSchema

_NUMBERS_HIDDEN: Final = 32
_PAST_VECTORS: Final = 3
_NUM_OCCURRENCES: Final = 2
_BLOCK_CANDIDATES: Final = 2_400


class DLRM(nn.Module):
    """Logit of a query and an item.

    Raises:
        ConfigError: the config reads inputs that the schema lacks.
    """

    def __init__(self, config: DLRMConfig, schema: ModelSchema, items: ItemTensors | None = None) -> None:
        super().__init__()
        check_config(config, schema, has_items=items is not None)
        self.config, self.schema, self.items = config, schema, items
        dim, in_bottom = config.dim, config.price_in_bottom
        self.query_fields = SideFields(schema.query, dim, None if in_bottom else config.bottom_dims)
        self.item_id = None if items is None else embedding(schema.num_item_ids, dim)
        self.item_fields = SideFields(schema.item, dim, None if in_bottom else (_NUMBERS_HIDDEN,), items)
        self.pair_fields = SideFields(schema.pair, dim, (_NUMBERS_HIDDEN,))
        self.history: HistoryEncoder | None = None
        if config.history_length and items is not None:
            self.history = HistoryEncoder(
                schema, items, dim=dim, num_heads=config.history_heads, id_dropout=config.id_dropout
            )
        self._build_top()
        self._prepared: ItemState | None = None

    def _build_top(self) -> None:
        """The first top layer in parts, by what each input depends on, and the layers after it."""
        config, schema, dim, hidden = self.config, self.schema, self.config.dim, self.config.top_dims[0]
        num_query = self.query_fields.count + (self.history.num_vectors if self.history is not None else 0)
        num_item = 0 if self.item_id is None else 1 + self.item_fields.count
        num_pair = self.pair_fields.count
        self._reads_pairs = num_pair > 0
        if config.price_in_bottom:
            self.bottom = mlp([len(schema.query.numbers), *config.bottom_dims, dim])
            self.bottom_numbers = nn.Linear(len(schema.item.numbers), config.bottom_dims[0], bias=False)
            self.bottom_first = nn.Linear(dim + num_query + num_item, hidden, bias=False)
        bottom = dim if self.query_fields.numbers is not None else 0
        self.query_first = linear(bottom + num_pairs(num_query), hidden)
        self.item_first = linear(num_pairs(num_item), hidden, bias=False)
        cross_inputs = num_query * num_item
        if self.history is not None:
            cross_inputs += _PAST_VECTORS * num_item + _NUM_OCCURRENCES
        cross_inputs += NUM_ITEM_AGE_BUCKETS if config.item_age else 0
        cross_inputs += int(config.retrieval_score) + int(config.popularity)
        self.joint_first = linear(cross_inputs, hidden, bias=False)
        if num_pair:
            own = dim if self.pair_fields.numbers is not None else 0
            inputs = own + num_pairs(num_pair) + num_pair * (num_query + num_item)
            self.pair_first = nn.Linear(inputs, hidden, bias=False)
        self.score_weight = nn.Parameter(torch.ones(())) if config.retrieval_score else None
        drop = [nn.Dropout(config.dropout)] if config.dropout else []
        self.top = nn.Sequential(nn.ReLU(inplace=True), *drop, mlp([*config.top_dims, 1], config.dropout))

    def query_state(self, queries: QueryTensors, past: Tensor | None, items: ItemTensors | None = None) -> QueryState:
        """Everything of B queries that does not depend on the candidate; `past` as in `QueryState`."""
        dropout = self.config.user_dropout if self.training else 0.0
        columns = without_some_users(queries.columns, self.schema.query.user_column, dropout)
        parts = self.query_fields(columns)
        bottom = self.bottom[0](columns.numbers) if self.config.price_in_bottom else None
        fields = torch.stack(parts, dim=1) if parts else columns.numbers.new_zeros(len(queries), 0, self.config.dim)
        if self.history is not None:
            read = self.items if items is None else items
            fields = torch.cat([fields, self.history(read, queries)], dim=1)
        first = pair_dots(fields)
        if self.query_fields.numbers is not None:
            first = torch.cat([parts[-1], first], dim=1)
        return QueryState(fields, self.query_first(first), bottom, past)

    def item_state(self, items: ItemTensors, rows: Tensor, hidden: Tensor | None = None) -> ItemState:
        """Everything of items at rows [n] that does not depend on the query.

        Args:
            items: the catalogue, or given items.
            rows: ItemRows, or places among the given ones.
            hidden: [n] bool, ids that are to be out of vocabulary.
        """
        assert self.item_id is not None
        ids = items.ids(rows, self.config.id_dropout if self.training else 0.0, hidden)
        columns = items.of(rows)
        fields = torch.stack([self.item_id(ids), *self.item_fields(columns)], dim=1)
        return ItemState(fields.transpose(0, 1).contiguous(), self.item_first(pair_dots(fields)), columns.numbers)

    def past_fields(self, queries: QueryTensors, items: ItemState, place: Tensor) -> Tensor:
        """Item fields of the history [B, G, 3, dim]: of the last item, of the last if in this session, mean of all.

        They share the tables of the candidates, so that from the first step on, a dot product with the candidate's
        field shows whether both have the same category, or similar prices or pictures.

        Args:
            queries: B queries with histories of N.
            items: item fields of all their interactions.
            place: [B, N] place of each interaction in `items`.
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

    def logits(self, queries: QueryTensors, *groups: CandidateGroup, items: ItemTensors | None = None) -> Tensor:
        """Logits [B, C of all groups]; see `Ranker.logits`. Rows are places among `items`, if these are given."""
        queries = queries.last(self.config.history_length)
        rows = [queries.history_rows.clamp(min=0), *(group.rows for group in groups)]
        read, known = (self.items, self._prepared) if items is None else (items, None)
        if known is None and read is not None:
            known, rows = self._items_of(read, rows, [None, *(group.hidden for group in groups)])
        history, *places = rows
        past = None if self.history is None or known is None else self.past_fields(queries, known, history)
        state = self.query_state(queries, past, read)
        parts = [
            self._group_logits(queries, state, known, part, group) for part, group in zip(places, groups, strict=True)
        ]
        return torch.cat(parts, dim=1)

    def _items_of(
        self, items: ItemTensors, rows: list[Tensor], hidden: list[Tensor | None]
    ) -> tuple[ItemState, list[Tensor]]:
        """The state of all items of several arrays of ItemRows, and the place of each item in it.

        An item that is hidden in some places occurs twice: with its id and without.
        """
        flat = torch.cat([part.flatten() for part in rows])
        used, place = unique_rows(flat, len(items))
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
        return self.item_state(items, used, flags), [
            piece.view_as(like) for piece, like in zip(pieces, rows, strict=True)
        ]

    def score(self, queries: QueryTensors, pairs: PairTensors, items: ItemTensors | None = None) -> Tensor:
        """Logits [T] of ragged candidates; see `Ranker.score`."""
        return pairs.score(queries, partial(self.logits, items=items))

    def prepare(self) -> None:
        """Computes what depends on weights and catalogue only, for scoring with fixed weights."""
        if self.items is None:
            return
        every = torch.arange(len(self.items), device=self.items.encoded_id.device)
        self._prepared = self.item_state(self.items, every)
        if self.history is not None:
            self.history.prepare(self.items)

    def _group_logits(
        self, queries: QueryTensors, state: QueryState, items: ItemState | None, place: Tensor, group: CandidateGroup
    ) -> Tensor:
        """Logits [B, C] of one group; `place` [B or 1, C] are the places of its items in `items`.

        On a CPU, outside training, it works in blocks whose vectors fit into a core's cache.
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
        self, queries: QueryTensors, state: QueryState, items: ItemState | None, place: Tensor, group: CandidateGroup
    ) -> Tensor:
        inputs = [group.scores.new_zeros(*group.scores.shape, 0)]
        fields = None if items is None else items.fields_of(place)  # [B or 1, G, C, dim]
        if fields is not None:
            inputs = [dots(fields, state)]
        if state.past is not None:
            inputs.append(occurrences(queries, group.rows))
        if self.config.item_age:
            inputs.append(one_hot(group.age_bucket, NUM_ITEM_AGE_BUCKETS))
        if self.config.retrieval_score:
            inputs.append(group.scores[..., None])
        if self.config.popularity:
            inputs.append(group.known_popularity[..., None])
        cross = inputs[0] if len(inputs) == 1 else torch.cat(inputs, dim=2)
        hidden = self.joint_first(cross)
        if items is not None:
            hidden += F.embedding(place, items.first)
        hidden += state.first[:, None]
        if items is not None and fields is not None and state.bottom is not None:
            hidden += self._bottom_terms(state, state.bottom, fields, F.embedding(place, items.numbers))
        if self._reads_pairs:
            hidden += self._pair_terms(state, fields, group)
        logits: Tensor = self.top(hidden).squeeze(-1)
        return logits if self.score_weight is None else logits + self.score_weight * group.scores

    def _pair_terms(self, state: QueryState, item_fields: Tensor | None, group: CandidateGroup) -> Tensor:
        """Terms of the first top layer from the pair's columns, with each other and with other fields, [B, C, H]."""
        if group.columns is None:
            raise ValueError(f"this ranker reads {list(self.schema.pair.codes)} … of each pair, got none")
        size, count = group.scores.shape
        parts = self.pair_fields(group.columns.map(lambda tensor: tensor.flatten(0, 1)))
        own = torch.stack(parts, dim=1)  # [B * C, P, dim]
        inputs = [pair_dots(own)] if self.pair_fields.numbers is None else [parts[-1], pair_dots(own)]
        flat = [values.view(size, count, -1) for values in inputs]
        own = own.view(size, count, *own.shape[1:])
        flat.append(torch.matmul(own, state.fields.transpose(1, 2)[:, None]).flatten(2))
        if item_fields is not None:
            flat.append(torch.matmul(own, item_fields.permute(0, 2, 3, 1)).flatten(2))
        terms: Tensor = self.pair_first(torch.cat(flat, dim=2))
        return terms

    def _bottom_terms(self, state: QueryState, bottom: Tensor, item_fields: Tensor, numbers: Tensor) -> Tensor:
        """Terms of the first top layer from the bottom vector of each query and item, [B, C, H]."""
        hidden = bottom[:, None] + self.bottom_numbers(numbers)
        vectors = self.bottom[1:](hidden)  # [B, C, dim]
        with_query = torch.matmul(vectors, state.fields.transpose(1, 2))
        with_item = (item_fields.transpose(1, 2) * vectors[:, :, None]).sum(dim=3)
        terms: Tensor = self.bottom_first(torch.cat([vectors, with_query, with_item], dim=2))
        return terms
