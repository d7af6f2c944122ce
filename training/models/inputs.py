"""Model inputs as tensors: the query side of a batch and the item side of the whole catalogue."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from contracts.catalogue import ItemFeatures
from contracts.encoded import EncodedColumns
from contracts.ids import AnyArray, IntArray
from contracts.messages import Pairs, QueryFeatures
from training.models.item_counts import ItemCounts


def as_tensor(array: AnyArray) -> Tensor:
    """A tensor over the array's own memory; mapped arrays stay mapped and must not be written to."""
    if array.flags.writeable:
        return torch.from_numpy(array)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


@dataclass(frozen=True)
class ColumnTensors:
    """`contracts.encoded.EncodedColumns` of n rows as tensors.

    Attributes:
        codes: [n, C] int64, or int32 where they share the memory of the catalogue.
        numbers: [n, F] float32.
        lists: of each list feature [n, L], as `codes`; `PAD_CODE` ends a list.
        vectors: of each vector feature [n, D] float32.
    """

    codes: Tensor
    numbers: Tensor
    lists: tuple[Tensor, ...] = ()
    vectors: tuple[Tensor, ...] = ()

    @classmethod
    def of(cls, columns: EncodedColumns) -> ColumnTensors:
        """Tensors of a message."""
        return cls(
            as_tensor(columns.codes.astype(np.int64)),
            as_tensor(columns.numbers),
            tuple(as_tensor(values.astype(np.int64)) for values in columns.lists),
            tuple(as_tensor(values) for values in columns.vectors),
        )

    def map(self, change: Callable[[Tensor], Tensor]) -> ColumnTensors:
        """Applies a function to every tensor."""
        lists, vectors = tuple(map(change, self.lists)), tuple(map(change, self.vectors))
        return ColumnTensors(change(self.codes), change(self.numbers), lists, vectors)


@dataclass(frozen=True)
class QueryTensors:
    """Query side of B queries with histories of N interactions.

    Attributes:
        columns: of the query side.
        history_rows: [B, N] int64 ItemRow, newest first, -1 pads.
        history_age_s: [B, N] float32 seconds since the interaction.
        same_session: [B, N] bool.
    """

    columns: ColumnTensors
    history_rows: Tensor
    history_age_s: Tensor
    same_session: Tensor

    @classmethod
    def from_features(cls, queries: QueryFeatures) -> QueryTensors:
        """The tensors of a message."""
        history = queries.history
        return cls(
            ColumnTensors.of(queries.columns),
            as_tensor(history.rows.astype(np.int64)),
            as_tensor(history.age_s),
            as_tensor(history.same_session),
        )

    def __len__(self) -> int:
        return len(self.history_rows)

    def __getitem__(self, part: slice) -> QueryTensors:
        return self.map(lambda tensor: tensor[part])

    def take(self, queries: Tensor) -> QueryTensors:
        """The queries at these places [n], in this order."""
        return self.map(lambda tensor: tensor[queries])

    def last(self, length: int) -> QueryTensors:
        """The same with only the newest `length` interactions of the history.

        Raises:
            ValueError: the histories are shorter than that.
        """
        available = self.history_rows.shape[1]
        if available < length:
            raise ValueError(f"histories hold {available} interactions, the model reads {length}; slice them longer")
        if available == length:
            return self
        history = (tensor[:, :length] for tensor in (self.history_rows, self.history_age_s, self.same_session))
        return QueryTensors(self.columns, *history)

    def to(self, device: torch.device) -> QueryTensors:
        """The same on a device."""
        if self.history_rows.device == device:
            return self
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def map(self, change: Callable[[Tensor], Tensor]) -> QueryTensors:
        """Applies a function to every tensor."""
        history = map(change, (self.history_rows, self.history_age_s, self.same_session))
        return QueryTensors(self.columns.map(change), *history)


@dataclass(frozen=True)
class CandidateGroup:
    """C candidates of each of B queries.

    Attributes:
        rows: ItemRows [B, C] int64, or [1, C] where all queries share the candidates.
        scores: retrieval scores [B, C] float32.
        age_bucket: [B, C] int64, `contracts.features.item_age_bucket` at the time of the query.
        popularity: [B, C] float32, `training.popularity.relative_popularity` as of the start of the query's day; None
            where the ranker does not read it.
        hidden: [B, C] bool, candidates whose id is to be out of vocabulary, in training only; None = none.
        columns: of the pair side, [B, C, …]; None where the schema has none.
        counts: of an earlier time, in training only; None = the ranker's own.
    """

    rows: Tensor
    scores: Tensor
    age_bucket: Tensor
    popularity: Tensor | None = None
    hidden: Tensor | None = None
    columns: ColumnTensors | None = None
    counts: ItemCounts | None = None

    @property
    def known_popularity(self) -> Tensor:
        """The popularity, for a ranker that reads it.

        Raises:
            ValueError: it is not given.
        """
        if self.popularity is None:
            raise ValueError("this ranker reads the popularity of its candidates, got none")
        return self.popularity

    def __getitem__(self, part: slice) -> CandidateGroup:
        """The candidates of some of the queries."""
        return self.take(part)

    def take(self, part: slice | Tensor) -> CandidateGroup:
        """The candidates of some of the queries, by slice or places [n]."""
        rows = self.rows if len(self.rows) == 1 else self.rows[part]
        popularity = None if self.popularity is None else self.popularity[part]
        hidden = None if self.hidden is None else self.hidden[part]
        columns = None if self.columns is None else self.columns.map(lambda tensor: tensor[part])
        return CandidateGroup(rows, self.scores[part], self.age_bucket[part], popularity, hidden, columns, self.counts)


@dataclass(frozen=True)
class PairTensors:
    """T candidates of B queries, ragged, with everything that depends on both.

    Attributes:
        owners: the query of each [T] int64, ascending.
        rows: ItemRows [T] int64, or places among given items; zeros where there are no items.
        scores: retrieval scores [T] float32.
        age_bucket: [T] int64 as in `CandidateGroup`.
        popularity: [T] float32 as there.
        columns: of the pair side, [T]; None if the schema has none.
    """

    owners: Tensor
    rows: Tensor
    scores: Tensor
    age_bucket: Tensor
    popularity: Tensor | None = None
    columns: ColumnTensors | None = None

    @classmethod
    def of(cls, pairs: Pairs) -> PairTensors:
        """Tensors of a message."""
        return cls(
            as_tensor(pairs.owners),
            as_tensor(pairs.rows.astype(np.int64)),
            as_tensor(pairs.retrieval_scores),
            as_tensor(pairs.age_bucket.astype(np.int64)),
            None if pairs.popularity is None else as_tensor(pairs.popularity),
            None if pairs.columns is None else ColumnTensors.of(pairs.columns),
        )

    def __len__(self) -> int:
        return len(self.owners)

    def to(self, device: torch.device) -> PairTensors:
        """The same on a device."""
        if self.owners.device == device:
            return self
        return self._map(self.owners.to(device), lambda tensor: tensor.to(device))

    def alone(self) -> CandidateGroup:
        """The candidates of a single query as a group."""
        return self._group(lambda tensor: tensor[None])

    def grouped(self, num_queries: int) -> tuple[CandidateGroup, Tensor]:
        """The same as a group, padded with zeros, and the place of each candidate in its flattened rows [T]."""
        lengths = torch.bincount(self.owners, minlength=num_queries)
        longest = int(lengths.max())
        column = torch.arange(len(self), device=self.owners.device) - (lengths.cumsum(0) - lengths)[self.owners]
        place = self.owners * longest + column

        def padded(values: Tensor) -> Tensor:
            filled = values.new_zeros(num_queries * longest, *values.shape[1:]).index_copy(0, place, values)
            return filled.view(num_queries, longest, *values.shape[1:])

        return self._group(padded), place

    def score(self, queries: QueryTensors, logits: Callable[[QueryTensors, CandidateGroup], Tensor]) -> Tensor:
        """Logits [T] of these candidates of B queries, by a function that gives those of groups [B, C]."""
        if not len(self):
            return self.scores.new_zeros(0)
        if len(queries) == 1:
            return logits(queries, self.alone())[0]
        group, place = self.grouped(len(queries))
        return logits(queries, group).flatten()[place]

    def _group(self, change: Callable[[Tensor], Tensor]) -> CandidateGroup:
        moved = self._map(self.owners, change)
        return CandidateGroup(
            moved.rows, moved.scores, moved.age_bucket, popularity=moved.popularity, columns=moved.columns
        )

    def _map(self, owners: Tensor, change: Callable[[Tensor], Tensor]) -> PairTensors:
        popularity = None if self.popularity is None else change(self.popularity)
        columns = None if self.columns is None else self.columns.map(change)
        return PairTensors(owners, change(self.rows), change(self.scores), change(self.age_bucket), popularity, columns)


class ItemTensors(nn.Module):
    """Item side of the catalogue; models hold it, so that callers pass ItemRows only.

    The buffers are not part of a model's weights; on a CPU they share the memory of the arrays that they come from.

    Attributes:
        encoded_id: [I] int32; 0 for items without a training positive.
    """

    encoded_id: Tensor

    def __init__(self, items: ItemFeatures, encoded_id: IntArray) -> None:
        super().__init__()
        if encoded_id.shape != (len(items),):
            raise ValueError(f"encoded_id has shape {list(encoded_id.shape)}, expected one id for {len(items)} items")
        columns = items.columns
        self._num_lists, self._num_vectors = len(columns.lists), len(columns.vectors)
        arrays = {"encoded_id": encoded_id, "codes": columns.codes, "numbers": columns.numbers}
        arrays |= {f"list_{number}": array for number, array in enumerate(columns.lists)}
        arrays |= {f"vector_{number}": array for number, array in enumerate(columns.vectors)}
        for name, array in arrays.items():
            self.register_buffer(name, as_tensor(array), persistent=False)

    @property
    def columns(self) -> ColumnTensors:
        """Of the item side, [I]."""
        lists = tuple(self.get_buffer(f"list_{number}") for number in range(self._num_lists))
        vectors = tuple(self.get_buffer(f"vector_{number}") for number in range(self._num_vectors))
        return ColumnTensors(self.get_buffer("codes"), self.get_buffer("numbers"), lists, vectors)

    def of(self, rows: Tensor) -> ColumnTensors:
        """Of some items, by ItemRow [n]."""
        return self.columns.map(lambda tensor: tensor[rows])

    def __len__(self) -> int:
        return len(self.encoded_id)

    def ids(self, rows: Tensor, dropout: float, hidden: Tensor | None = None) -> Tensor:
        """Encoded ids of items [n]; some are replaced by OOV so that the OOV row and the content are trained.

        Args:
            rows: ItemRow [n]; distinct if `dropout` must treat all places of an item alike.
            dropout: probability that an item's id is replaced.
            hidden: [n] bool, ids to replace in any case.
        """
        ids = self.encoded_id[rows].long()
        if dropout > 0:
            ids = ids * (torch.rand(len(ids), device=ids.device) >= dropout)
        return ids if hidden is None else ids.masked_fill(hidden, 0)
