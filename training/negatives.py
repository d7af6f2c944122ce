"""Draws negatives and gives the probability of each draw."""

from __future__ import annotations

import torch
from torch import Tensor


class ItemSampler:
    """Draws ItemRows by popularity, mixed with uniform draws.

    A share of uniform draws makes rare items negatives too (Yang et al., "Mixed Negative Sampling for
    Learning Two-tower Neural Networks in Recommendations", 2020).

    Args:
        counts: training positives of each item [I].
        uniform_share: share of uniform draws, 0 … 1.

    Attributes:
        log_q: log(Q * I) [I] float32, Q being the probability of a draw; very negative where Q is 0.
    """

    def __init__(self, counts: Tensor, uniform_share: float) -> None:
        if not 0 <= uniform_share <= 1:
            raise ValueError(f"uniform_share is {uniform_share}, expected a number from 0 to 1")
        total = counts.sum().item()
        if total == 0 and uniform_share < 1:
            raise ValueError(
                "no item has a training positive, so there is no popularity to draw by; use uniform_share 1"
            )
        popularity = counts.double() / max(total, 1)
        probs = (1 - uniform_share) * popularity + uniform_share / len(counts)
        self.log_q = log_relative(probs)
        self._cumulative = probs.cumsum(0)

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Independent draws: ItemRows int64 of a shape."""
        uniform = torch.rand(shape, generator=generator, dtype=torch.float64, device=self._cumulative.device)
        rows = torch.searchsorted(self._cumulative, uniform * self._cumulative[-1], right=True)
        return rows.clamp(max=len(self._cumulative) - 1)


def draw_rows(probs: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """For each query `count` independent ItemRows [B, count] int64 from probabilities [B, I], by inverse CDF."""
    cumulative = probs.cumsum(dim=1)
    uniform = torch.rand((len(probs), count), generator=generator, device=probs.device)
    rows = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    return rows.clamp(max=probs.shape[1] - 1)


def log_relative(probs: Tensor) -> Tensor:
    """log(Q * I) [I] float32 of the probabilities Q of a draw."""
    tiny = torch.finfo(torch.float32).tiny
    return (probs * len(probs)).clamp(min=tiny).log().float()


def in_batch_negatives(positives: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """For each query the positives of `count` other queries of the batch, [B, count] ItemRows int64.

    Equal items can be among them: they are accidental hits and must be excluded by the loss.

    Raises:
        ValueError: the batch has fewer than two queries.
    """
    size = len(positives)
    if size < 2:
        raise ValueError(f"in-batch negatives need at least 2 queries, the batch has {size}; raise the batch size")
    shift = torch.randint(1, size, (size, count), generator=generator, device=positives.device)
    other = (torch.arange(size, device=positives.device)[:, None] + shift) % size
    return positives[other]
