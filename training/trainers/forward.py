"""Training a ranker on rows that its retriever has not seen: a retriever of earlier days scores those of later days.

In serving, the retriever has not seen the choice that it scores. A ranker that is trained on rows of the retriever's
own training days learns to trust scores that are too good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from contracts.errors import DataError
from contracts.ids import AnyArray, LongArray
from training.models.item_counts import ItemCounts
from training.models.two_tower import TwoTower
from training.trainers.data import Batch, WorkerData
from training.trainers.ranking import RETRIEVED, RankerLossConfig, RankingTask
from training.trainers.retrieval_scores import RetrievalScores
from training.trainers.steps.batches import Units

_ROWS_AT_ONCE: Final = 1_024


@dataclass(frozen=True)
class Fold:
    """A retriever of earlier days, and the later days that it scores.

    Attributes:
        retrieval: trained on the days before `first_day`.
        counts: of items, up to the same day; None = the ranker reads none.
        first_day: first shop-local day whose rows are trained.
        last_day: last of them.
    """

    retrieval: TwoTower
    counts: ItemCounts | None
    first_day: int
    last_day: int


@dataclass(frozen=True, kw_only=True)
class ForwardBatch(Batch):
    """Training rows with items of their retrieved lists.

    Attributes:
        items: ItemRows [B, 1 + C]; the positive first.
        scores: retrieval scores [B, 1 + C].
        others: items of the list beside the positive [B]; C of them were drawn, or all.
        fold: number of the fold [B].
    """

    items: Tensor
    scores: Tensor
    others: Tensor
    fold: Tensor


class ForwardTask(RankingTask):
    """Trains a ranker to put a positive before others of its retrieved list.

    A row counts if its positive was retrieved: what is not retrieved cannot be ranked. The lists are retrieved once,
    before the first step.

    Args:
        model: the ranker.
        retrieval: the retriever of the bundle, for the validation day.
        data: of this worker.
        config: number of negatives and loss.
        folds: retrievers of earlier days, in order of time.
        max_rows: at most this many rows are trained.

    Raises:
        ConfigError: ranker and two-tower read histories of different days.
        DataError: the folds have no rows.
    """

    def __init__(
        self,
        model: nn.Module,
        retrieval: TwoTower,
        data: WorkerData,
        config: RankerLossConfig,
        folds: Sequence[Fold],
        max_rows: int,
    ) -> None:
        super().__init__(model, retrieval, data, config)
        device = retrieval.items.encoded_id.device
        self._counts = [None if fold.counts is None else fold.counts.to(device) for fold in folds]
        rows = [data.events.rows_between(fold.first_day, fold.last_day) for fold in folds]
        num_rows = sum(map(len, rows))
        if num_rows == 0:
            raise DataError(
                f"no training rows on the days {folds[0].first_day - data.first_day} to "
                f"{folds[-1].last_day - data.first_day} after the first; raise forward_share"
            )
        generator = torch.Generator(device).manual_seed(0)
        lists = []
        for number, (fold, of_fold) in enumerate(zip(folds, rows, strict=True)):
            if len(of_fold) == 0:
                continue
            wanted = max(1, min(len(of_fold), max_rows * len(of_fold) // num_rows))
            chosen = np.sort(np.random.default_rng(number).permutation(of_fold)[:wanted])
            lists.append(self._retrieved(fold, number, chosen, generator))
        self._rows, *self._lists = (np.concatenate(part) for part in zip(*lists, strict=True))

    @property
    def units(self) -> Units:
        return Units.of_rows(np.arange(len(self._rows)))

    def build(self, ids: LongArray) -> Batch:
        batch = self._inputs(self._rows[ids], masked=True)
        items, scores, others, fold = (torch.from_numpy(part[ids]) for part in self._lists)
        return ForwardBatch(**vars(batch), items=items.long(), scores=scores, others=others, fold=fold)

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Softmax over the positive and a uniform draw from the others of its list, corrected for the draw."""
        assert isinstance(batch, ForwardBatch)
        group = self._group(batch, batch.items, batch.scores)
        logits = torch.zeros_like(batch.scores)
        for number, counts in enumerate(self._counts):
            of_fold = (batch.fold == number).nonzero().flatten()
            if len(of_fold):
                part = replace(group.take(of_fold), counts=counts)
                logits = logits.index_copy(0, of_fold, self._ranker.logits(batch.queries.take(of_fold), part))
        drawn = (batch.items[:, 1:] >= 0).sum(dim=1)
        log_q = (drawn / batch.others.clamp(min=1)).log()[:, None].repeat(1, logits.shape[1])
        log_q[:, 0] = 0.0
        return self._loss_of(logits, batch.items < 0, log_q)

    @torch.no_grad()
    def _retrieved(self, fold: Fold, number: int, rows: LongArray, generator: torch.Generator) -> list[AnyArray]:
        """Rows whose positive was retrieved, and what a `ForwardBatch` holds of them."""
        scorer = RetrievalScores(fold.retrieval.to(self._launched_at.device), self.data)
        parts: list[list[AnyArray]] = []
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[start : start + _ROWS_AT_ONCE]
            batch = self._inputs(part, masked=True).to(self._launched_at.device)
            scores, items = scorer.top(batch, scorer.queries(batch), RETRIEVED)
            is_late = self._launched_at[items] > batch.now[:, None]
            is_positive = (items == batch.positives[:, None]) & ~is_late
            order = torch.rand(items.shape, generator=generator, device=items.device)
            order = order.masked_fill(is_late, 2.0).masked_fill(is_positive, -1.0)
            place = order.topk(min(1 + self.config.num_negatives, items.shape[1]), largest=False).indices
            found = is_positive.any(dim=1)
            listed = items.masked_fill(is_late, -1).gather(1, place)[found].int()
            others = (~is_late).sum(dim=1)[found] - 1
            lists = [listed, scores.gather(1, place)[found], others, torch.full_like(others, number)]
            parts.append([part[found.cpu().numpy()], *(values.cpu().numpy() for values in lists)])
        return [np.concatenate(values) for values in zip(*parts, strict=True)]
