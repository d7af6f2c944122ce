"""Losses on sampled candidates. B queries, C candidates; column `target[b]` is the positive of query b.

`log_q` is log(Q * I): the log of the probability that a draw takes the item, relative to a uniform draw over the I
items of the catalogue. Subtracting it from a logit makes a sampled loss estimate the full one (for in-batch negatives:
Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", 2019).

A query does not count if its positive is excluded, by `excluded` or by its logit: its loss would be about 1e9.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

EXCLUDED = -1e9
"""Logit of a candidate that must not count."""
_MASKED = EXCLUDED / 2


def counted_mean(losses: Tensor, counted: Tensor) -> Tensor:
    """Mean of the losses [B] of queries that count [B] bool; 0 where none does."""
    return losses.where(counted, 0.0).sum() / counted.sum().clamp(min=1)


def accidental_hits(positives: Tensor, candidates: Tensor, target: Tensor) -> Tensor:
    """Where a candidate other than the target column is the query's own positive, [B, C] bool.

    Args:
        positives: ItemRow of each query's positive [B].
        candidates: ItemRows [C] or [B, C].
        target: column of each query's positive [B].
    """
    columns = torch.arange(candidates.shape[-1], device=candidates.device)
    return (candidates == positives[:, None]) & (columns != target[:, None])


@dataclass(frozen=True)
class OwnPositives:
    """Positives of some queries whose embedding differs from the shared candidate's.

    Attributes:
        queries: [n] int64, distinct places in the batch.
        embeddings: [n, E].
    """

    queries: Tensor
    embeddings: Tensor


class _Context(Protocol):
    """What autograd hands from the forward to the backward pass."""

    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _ProductSoftmax(torch.autograd.Function):
    """Softmax loss of a matrix product, with the gradient computed in the forward pass in the buffer of the logits.

    Autograd would write four arrays [B, C] instead of one; writing them takes most of a retrieval step.
    """

    @staticmethod
    def forward(
        ctx: _Context,
        queries: Tensor,
        candidates: Tensor,
        own: Tensor,
        owners: Tensor,
        target: Tensor,
        log_q: Tensor | None,
        excluded: Tensor | None,
    ) -> Tensor:
        logits = queries @ candidates.T
        own_queries, own_target = queries[owners], target[owners]
        logits[owners, own_target] = (own_queries * own).sum(dim=1)
        if log_q is not None:
            logits -= log_q
        if excluded is not None:
            logits.masked_fill_(excluded, EXCLUDED)
        column = target[:, None]
        highest = logits.amax(dim=1, keepdim=True)
        positive = logits.gather(1, column)
        partition = logits.sub_(highest).exp_().sum(dim=1, keepdim=True)
        counted = ~(positive <= _MASKED)  # NaN counts: the loss must show it
        share = 1 / counted.sum().clamp(min=1).to(logits.dtype)
        loss = counted_mean(partition.log() + highest - positive, counted)
        gradient = logits.div_((partition / share).where(counted, torch.inf))
        gradient.scatter_add_(1, column, (-share).where(counted, 0.0))
        of_own = gradient[owners, own_target][:, None]
        gradient[owners, own_target] = 0.0
        of_queries = (gradient @ candidates).index_add_(0, owners, of_own * own)
        ctx.save_for_backward(of_queries, gradient.T @ queries, of_own * own_queries)
        return loss

    @staticmethod
    def backward(ctx: _Context, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None, None]:
        of_queries, of_candidates, of_own = (saved * gradients[0] for saved in ctx.saved_tensors)
        return of_queries, of_candidates, of_own, None, None, None, None


def product_softmax_loss(
    queries: Tensor,
    candidates: Tensor,
    target: Tensor,
    *,
    log_q: Tensor | None = None,
    excluded: Tensor | None = None,
    own: OwnPositives | None = None,
) -> Tensor:
    """Mean cross-entropy of the positive among candidates that all queries share; logits are inner products.

    Args:
        queries: [B, E].
        candidates: [C, E].
        target: [B] int64, the column of each query's positive.
        log_q: [C]; None for no correction.
        excluded: [B, C] bool, candidates that do not count, for example accidental hits.
        own: positives with another embedding than their column's; None for none.
    """
    if own is None:
        own = OwnPositives(target.new_zeros(0), queries.new_zeros(0, queries.shape[1]))
    loss: Tensor = _ProductSoftmax.apply(queries, candidates, own.embeddings, own.queries, target, log_q, excluded)
    return loss


def sampled_softmax_loss(
    logits: Tensor, target: Tensor, *, excluded: Tensor | None = None, log_q: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy of the positive among the candidates.

    Args:
        logits: [B, C].
        target: [B] int64.
        excluded: [B, C] bool, candidates that do not count.
        log_q: [C] or [B, C]; None for no correction.
    """
    if log_q is not None:
        logits = logits - log_q
    if excluded is not None:
        logits = logits.masked_fill(excluded, EXCLUDED)
    counted = ~(logits.gather(1, target[:, None])[:, 0] <= _MASKED)
    return counted_mean(F.cross_entropy(logits, target, reduction="none"), counted)


def sampled_bce_loss(
    logits: Tensor, target: Tensor, *, excluded: Tensor | None = None, log_q: Tensor | None = None
) -> Tensor:
    """Binary cross-entropy of the positive and its negatives, summed over candidates, mean over queries.

    With `log_q` the logit learns the odds of a positive against C - 1 uniform negatives (noise-contrastive estimation,
    Gutmann and Hyvärinen, 2010); without it the odds against negatives as they were drawn.

    Args:
        logits: [B, C].
        target: [B] int64.
        excluded: [B, C] bool, candidates that do not count.
        log_q: [C] or [B, C]; None for no correction.
    """
    if log_q is not None:
        logits = logits - log_q
    column = target[:, None]
    counted = ~(logits.gather(1, column) <= _MASKED)
    labels = F.one_hot(target, logits.shape[1]).to(logits.dtype)
    losses = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    if excluded is not None:
        counted &= ~excluded.gather(1, column)
        losses = losses.masked_fill(excluded, 0.0)
    return counted_mean(losses.sum(dim=1), counted[:, 0])
