"""Counts of items and of what follows them, frozen at a time: inputs of the ranker."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from contracts.ids import FloatArray, LongArray

_FOLLOWED: Final = 20.0
"""Weight of an item's overall share, in transitions, in its share among those that follow an item."""
_DAYS: Final = 0.5
"""Weight of the mean rate of all items, in days, in an item's own: new items are taken for usual ones."""


class ItemCounts(nn.Module):
    """Counts by encoded id; they are part of a model's weights.

    Args:
        num_ids: rows of the items' vocabulary, the OOV row included, V.
        num_following: how many items that follow an item are kept, M.
    """

    log_rate: Tensor
    following: Tensor
    times: Tensor
    total: Tensor

    def __init__(self, num_ids: int, num_following: int) -> None:
        super().__init__()
        self.num_following = num_following
        self.register_buffer("log_rate", torch.zeros(num_ids))
        self.register_buffer("following", torch.full((num_ids, num_following), num_ids, dtype=torch.int32))
        self.register_buffer("times", torch.zeros(num_ids, num_following))
        self.register_buffer("total", torch.zeros(num_ids))

    def freeze(
        self, counts: LongArray, days: FloatArray, before: LongArray, after: LongArray, times: LongArray
    ) -> None:
        """Takes over counts, of each item only those of what follows it most often.

        Args:
            counts: events of each id [V].
            days: how many days each id could be chosen [V].
            before: ids that were followed by others [P].
            after: the ids that followed them [P]; pairs are distinct and ascending.
            times: how often [P].
        """
        num_ids = len(self.log_rate)
        usual = max(counts.sum(), 1) / max(days.sum(), 1)
        rate = (counts + _DAYS * usual) / (days + _DAYS)
        self.log_rate.copy_(torch.from_numpy(np.log(rate / rate.mean())))
        self.total.copy_(torch.from_numpy(np.bincount(before, times, minlength=num_ids)))
        order = np.lexsort((after, -times, before))
        place = np.arange(len(order)) - np.searchsorted(before, before[order])
        kept = np.sort(order[place < self.num_following])
        of, item, times = before[kept], after[kept], times[kept]
        place = np.arange(len(kept)) - np.searchsorted(of, of)
        following = np.full((num_ids, self.num_following), num_ids, dtype=np.int32)
        found = np.zeros((num_ids, self.num_following), dtype=np.float32)
        following[of, place], found[of, place] = item, times
        self.following.copy_(torch.from_numpy(following))
        self.times.copy_(torch.from_numpy(found))

    def forward(self, last: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Log rate of each item, events a day over the mean, and log lift of its following the last, [B, C] each.

        The lift is ((times + a * share) / (total + a)) / share; share is the item's of all rates and a a constant.

        Args:
            last: encoded id of each query's last item [B]; 0 gives a lift of 1.
            ids: encoded ids of candidates [B, C].
        """
        log_rate, following = self.log_rate[ids], self.following[last]
        place = torch.searchsorted(following, ids.int()).clamp(max=self.num_following - 1)
        times = self.times[last].gather(1, place) * (following.gather(1, place) == ids)
        share = log_rate.exp() / len(self.log_rate)
        lift = (times / share + _FOLLOWED) / (self.total[last] + _FOLLOWED)[:, None]
        return log_rate, lift.log()
