"""MLP over the retrieval score and inputs of each query and item.

It has few weights on purpose: what a retriever says about rows that it was not trained on takes few rows to learn, and
a ranker of many weights remembers its rows instead.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from contracts.features import NUM_ITEM_AGE_BUCKETS
from training.models.dlrm.interactions import occurrences
from training.models.inputs import CandidateGroup, ItemTensors, PairTensors, QueryTensors
from training.models.item_counts import ItemCounts
from training.models.layers import mlp
from training.models.mlp.config import MLPConfig
from training.models.mlp.inputs import ItemTables, PastItems
from training.models.schema import ModelSchema

_AGE_DIM: Final = 4
_LEAST_VARIANCE: Final = 0.01
"""Added to the variance of an input, so that one that hardly varies in training cannot become large in serving."""


class MLPRanker(nn.Module):
    """Logit of a query and an item.

    Raises:
        ValueError: there is no catalogue.
    """

    def __init__(self, config: MLPConfig, schema: ModelSchema, items: ItemTensors | None = None) -> None:
        super().__init__()
        if items is None:
            raise ValueError("the ranker mlp compares items of a catalogue, got none; take the ranker dlrm")
        self.config, self.schema, self.items = config, schema, items
        query, item = list(schema.query.codes), list(schema.item.codes)
        self.crossed = [(query.index(a), item.index(b)) for a, b in config.crosses if a in query and b in item]
        sizes = [list(schema.query.codes.values()), list(schema.item.codes.values())]
        self.crosses = nn.ParameterList(nn.Parameter(torch.zeros(sizes[0][a], sizes[1][b])) for a, b in self.crossed)
        self.counts = ItemCounts(schema.num_item_ids, config.num_following) if config.counts else None
        self.age = nn.Parameter(torch.zeros(NUM_ITEM_AGE_BUCKETS, _AGE_DIM)) if config.item_age else None
        width = self._num_numbers()
        self.norm = nn.BatchNorm1d(width, eps=_LEAST_VARIANCE, affine=False)
        width += len(self.crossed) + (_AGE_DIM if config.item_age else 0)
        self.mlp = mlp([width, *config.hidden_dims, 1], config.dropout)
        self.score_weight = nn.Parameter(torch.ones(())) if config.retrieval_score else None
        self._tables: ItemTables | None = None

    def _num_numbers(self) -> int:
        """How many inputs are standardised; values of few training rows must not become large by it."""
        config, item = self.config, self.schema.item
        features = len(item.codes) + len(item.numbers)
        contents = len(item.vectors) * (2 if config.within in item.codes else 1)
        width = int(config.retrieval_score) + int(config.popularity)
        width += (3 if config.num_following and config.history_length else 1) if config.counts else 0
        if config.history_length:
            width += 3 + (2 if config.repeats else 0)
            width += (features + contents) * (2 * int(config.last_item) + int(config.history))
        return width

    def logits(self, queries: QueryTensors, *groups: CandidateGroup, items: ItemTensors | None = None) -> Tensor:
        """Logits [B, C of all groups]; see `Ranker.logits`. Rows are places among `items`, if these are given."""
        read = self.items if items is None else items
        queries = queries.last(self.config.history_length)
        past = PastItems(self._tables_of(read), queries)
        return torch.cat([self._group_logits(read, queries, past, group) for group in groups], dim=1)

    def score(self, queries: QueryTensors, pairs: PairTensors, items: ItemTensors | None = None) -> Tensor:
        """Logits [T] of ragged candidates; see `Ranker.score`."""
        return pairs.score(queries, partial(self.logits, items=items))

    def prepare(self) -> None:
        """Computes the tables of the catalogue, which depend on no weight."""
        self._tables_of(self.items)

    def _tables_of(self, items: ItemTensors) -> ItemTables:
        if items is not self.items:
            return ItemTables(items, self.schema, self.config.within)
        if self._tables is None or self._tables.codes.device != items.encoded_id.device:
            self._tables = ItemTables(items, self.schema, self.config.within)
        return self._tables

    def _group_logits(
        self, items: ItemTensors, queries: QueryTensors, past: PastItems, group: CandidateGroup
    ) -> Tensor:
        config, size = self.config, group.scores.shape
        rows = group.rows.expand(size)
        inputs = []
        if config.history_length:
            use = {"last": config.last_item, "history": config.history}
            inputs += [state[:, None].expand(size) for state in past.state().unbind(dim=1)]
            inputs += past.categories(rows, **use) + past.numbers(rows, **use) + past.content(rows, **use)
            if config.repeats:
                inputs += occurrences(queries, group.rows).unbind(dim=2)
        if self.counts is not None:
            inputs += self._counted(group.counts or self.counts, items.encoded_id.long(), past, rows)
        if config.retrieval_score:
            inputs.append(group.scores)
        if config.popularity:
            inputs.append(group.known_popularity)
        flat = [self.norm(torch.stack(inputs, dim=2).flatten(0, 1))]
        codes = past.tables.codes
        for (query, item), table in zip(self.crossed, self.crosses, strict=True):
            flat.append(table[queries.columns.codes[:, query, None], codes[rows, item]].view(-1, 1))
        if self.age is not None:
            flat.append(self.age[group.age_bucket.flatten()])
        logits: Tensor = self.mlp(torch.cat(flat, dim=1)).view(size)
        return logits if self.score_weight is None else logits + self.score_weight * group.scores

    def _counted(self, counts: ItemCounts, encoded_id: Tensor, past: PastItems, rows: Tensor) -> list[Tensor]:
        """Log rate of each item, log lift of its following the last one, and that in the last one's session."""
        if not (self.config.num_following and self.config.history_length):
            return [counts.log_rate[encoded_id[rows]]]
        log_rate, lift = counts(encoded_id[past.rows[:, 0]] * past.valid[:, 0], encoded_id[rows])
        return [log_rate, lift, lift * past.in_session[:, None]]
