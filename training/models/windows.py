"""Windows of consecutive events of one subject each: what a transformer is trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """W windows of at most L events, 2 or more, and P events in them that are training rows.

    Attributes:
        rows: [W, L] int64 ItemRow in order of time, -1 pads at the end.
        timestamps: [W, L] int64 Unix seconds; the last one is repeated where padded.
        owners: the window of each training row [P] int64, ascending.
        places: its place in the window [P] int64.
        anonymous: [P] bool, rows whose history is hidden.
    """

    rows: Tensor
    timestamps: Tensor
    owners: Tensor
    places: Tensor
    anonymous: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def training_rows(self, part: slice) -> slice:
        """The training rows of consecutive windows."""
        first, last = torch.searchsorted(self.owners, torch.tensor([part.start, part.stop])).tolist()
        return slice(first, last)

    def __getitem__(self, part: slice) -> Windows:
        """Consecutive windows with their training rows, as long as the longest of them, but of two events at least."""
        rows, inside = self.rows[part], self.training_rows(part)
        longest = max(2, int((rows >= 0).sum(dim=1).max()))
        return Windows(
            rows[:, :longest],
            self.timestamps[part, :longest],
            self.owners[inside] - part.start,
            self.places[inside],
            self.anonymous[inside],
        )

    def map(self, change: Callable[[Tensor], Tensor]) -> Windows:
        """Applies a function to every tensor."""
        return Windows(*(change(tensor) for tensor in vars(self).values()))
