"""Model inputs as tensors: the query side of a batch and the item side of the whole catalogue."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from contracts.catalogue import ItemFeatures
from contracts.ids import AnyArray, IntArray
from contracts.messages import QueryFeatures


def as_tensor(array: AnyArray) -> Tensor:
    """A tensor over the array's own memory; mapped arrays stay mapped and must not be written to."""
    if array.flags.writeable:
        return torch.from_numpy(array)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


@dataclass(frozen=True)
class QueryTensors:
    """Query side of B queries with histories of N interactions.

    Attributes:
        categorical: [B, 6] int64 encoded ids, columns `QUERY_CATEGORICALS`.
        continuous: [B, 5] float32, columns `QUERY_CONTINUOUS`.
        history_rows: [B, N] int64 ItemRow, newest first, -1 pads.
        history_age_s: [B, N] float32 seconds since the interaction.
        same_session: [B, N] bool.
    """

    categorical: Tensor
    continuous: Tensor
    history_rows: Tensor
    history_age_s: Tensor
    same_session: Tensor

    @classmethod
    def from_features(cls, queries: QueryFeatures) -> QueryTensors:
        """The tensors of a message."""
        history = queries.history
        return cls(
            as_tensor(queries.categorical.astype(np.int64)),
            as_tensor(queries.continuous),
            as_tensor(history.rows.astype(np.int64)),
            as_tensor(history.age_s),
            as_tensor(history.same_session),
        )

    def __len__(self) -> int:
        return len(self.categorical)

    def __getitem__(self, part: slice) -> QueryTensors:
        return QueryTensors(*(tensor[part] for tensor in self._tensors()))

    def take(self, queries: Tensor) -> QueryTensors:
        """The queries at these places [n], in this order."""
        return QueryTensors(*(tensor[queries] for tensor in self._tensors()))

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
        return QueryTensors(self.categorical, self.continuous, *history)

    def to(self, device: torch.device) -> QueryTensors:
        """The same on another device."""
        return QueryTensors(*(tensor.to(device, non_blocking=True) for tensor in self._tensors()))

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.categorical, self.continuous, self.history_rows, self.history_age_s, self.same_session


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
    """

    rows: Tensor
    scores: Tensor
    age_bucket: Tensor
    popularity: Tensor | None = None
    hidden: Tensor | None = None

    def __getitem__(self, part: slice) -> CandidateGroup:
        """The candidates of some of the queries."""
        rows = self.rows if len(self.rows) == 1 else self.rows[part]
        popularity = None if self.popularity is None else self.popularity[part]
        hidden = None if self.hidden is None else self.hidden[part]
        return CandidateGroup(rows, self.scores[part], self.age_bucket[part], popularity, hidden)


class ItemTensors(nn.Module):
    """Item side of the catalogue, attached to a model so that callers pass ItemRows only.

    The buffers are not part of a model's weights; on a CPU they share the memory of the arrays that they come from.

    Attributes:
        encoded_id: [I] int32; 0 for items without a training positive.
        categorical: [I, 3] int32, columns `ITEM_CATEGORICALS`.
        continuous: [I, 1] float32, columns `ITEM_CONTINUOUS`.
        text: [I, D] float32.
        image: [I, D] float32.
    """

    encoded_id: Tensor
    categorical: Tensor
    continuous: Tensor
    text: Tensor
    image: Tensor

    def __init__(self, items: ItemFeatures, encoded_id: IntArray) -> None:
        super().__init__()
        if encoded_id.shape != (len(items),):
            raise ValueError(f"encoded_id has shape {list(encoded_id.shape)}, expected one id for {len(items)} items")
        arrays = {name: getattr(items, name) for name in ("categorical", "continuous", "text", "image")}
        for name, array in {"encoded_id": encoded_id, **arrays}.items():
            self.register_buffer(name, as_tensor(array), persistent=False)

    def __len__(self) -> int:
        return len(self.encoded_id)

    def ids(self, rows: Tensor, dropout: float, hidden: Tensor | None = None) -> Tensor:
        """Encoded ids of items [n]; some are replaced by OOV so that the OOV row and the content are trained.

        Args:
            rows: ItemRow [n], each item at most once where `dropout` is to hold an item as a whole.
            dropout: probability that an item's id is replaced.
            hidden: [n] bool, ids to replace in any case.
        """
        ids = self.encoded_id[rows].long()
        if dropout > 0:
            ids = ids * (torch.rand(len(ids), device=ids.device) >= dropout)
        return ids if hidden is None else ids.masked_fill(hidden, 0)
