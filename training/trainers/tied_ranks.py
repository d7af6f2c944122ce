"""Validation metrics of one positive per query; equal scores count as randomly ordered.

With A scores above the positive's and T others equal to it, its rank from 1 is A + 1, …, A + T + 1 with equal
probability; every metric is the mean over these, so that a model with equal scores gains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from contracts.errors import TrainingError
from training.trainers.workers import total


class TiedRanks:
    """Ranks of the positives of B queries.

    Args:
        scores: of the candidates [B, C]; -inf never counts.
        positive: score of each query's positive [B, 1], one of its row; NaN and -inf rank last.
    """

    def __init__(self, scores: Tensor, positive: Tensor) -> None:
        self._found = positive[:, 0].isfinite()
        self._above = (scores > positive).sum(dim=1)
        self._equal = (scores == positive).sum(dim=1).clamp(min=1)

    def hit_rate(self, k: int) -> Tensor:
        """Probability that the positive is among the first k, [B] float64."""
        return self._mean(torch.ones(k, dtype=torch.float64, device=self._above.device))

    def ndcg(self, k: int) -> Tensor:
        """Expected NDCG@k, [B] float64."""
        ranks = torch.arange(1, k + 1, dtype=torch.float64, device=self._above.device)
        return self._mean(1 / torch.log2(1 + ranks))

    def _mean(self, gains: Tensor) -> Tensor:
        """Mean of the gains [k] of ranks 1 … k, 0 beyond, over the ranks that the positive may have."""
        sums = torch.cat([gains.new_zeros(1), gains.cumsum(0)])
        first, last = self._above.clamp(max=len(gains)), (self._above + self._equal).clamp(max=len(gains))
        return (sums[last] - sums[first]) / self._equal * self._found


def are_broken(scores: Tensor) -> Tensor:
    """Which queries [B] have a score [B, C] that is NaN or infinite."""
    return (~scores.isfinite()).any(dim=1)


def averages(names: Sequence[str], sums: Tensor, broken: Tensor, counts: Tensor) -> dict[str, float]:
    """Means over the rows of all workers; metrics without rows are left out.

    Args:
        names: of M metrics.
        sums: of each metric over this worker's rows, [M] float64.
        broken: number of this worker's rows with a score that is not finite.
        counts: number of rows of each metric, [M].

    Raises:
        TrainingError: a worker has a score that is not finite.
    """
    whole = total(torch.cat([sums, counts.to(sums), broken.to(sums)[None]])).tolist()
    if whole[-1]:
        raise TrainingError(
            f"the scores of {whole[-1]:.0f} validation rows are NaN or infinite; "
            "lower learning_rate or look for extreme values in the features"
        )
    pairs = zip(whole[: len(names)], whole[len(names) : -1], strict=True)
    return {name: value / count for name, (value, count) in zip(names, pairs, strict=True) if count}
