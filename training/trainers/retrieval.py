"""The two-tower as a task of the training loop: its losses and its validation."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from contracts.config import StrictConfig
from contracts.ids import LongArray
from training.features.windows import EventWindows
from training.losses import EXCLUDED, OwnPositives, accidental_hits, product_softmax_loss
from training.models.two_tower import TwoTower
from training.negatives import log_relative
from training.trainers.data import Batch, WorkerData
from training.trainers.steps.batches import Units
from training.trainers.steps.loop import Metrics
from training.trainers.tied_ranks import TiedRanks, are_broken, averages

_CUTOFFS: Final = (10, 100, 300)
_EVALUATION_ROWS: Final = 1_024


class NegativesConfig(StrictConfig):
    """Candidates that a query's positive is compared with."""

    source: Literal["in_batch", "catalogue"] = "catalogue"
    """`in_batch`: the other positives of the batch; `catalogue`: all launched items, affordable for small ones."""
    num_uniform: int = Field(default=0, ge=0)
    """Uniform draws added to in-batch negatives."""
    logq_correction: bool = True
    """Whether in-batch logits are corrected for the probability that an item is drawn."""
    mask_accidental_hits: bool = True
    """Whether negatives equal to the positive are left out."""

    @model_validator(mode="after")
    def _no_draws_beside_all_items(self) -> NegativesConfig:
        if self.source == "catalogue" and self.num_uniform:
            raise ValueError(f"num_uniform={self.num_uniform} with source=catalogue: all items are negatives already")
        return self


class RetrievalTask:
    """Trains the two-tower by softmax over candidates.

    In-batch negatives with accidental hits masked are the reference's loss; the correction is that of
    `training.losses`. For the uniform draws see `training.negatives.ItemSampler`. A transformer is trained on windows
    of events, all positions of a window at once.
    """

    def __init__(self, model: TwoTower, data: WorkerData, negatives: NegativesConfig, batch_size: int) -> None:
        self.model, self.data, self.negatives = model, data, negatives
        device = model.items.encoded_id.device
        self._age_buckets = data.age_buckets_by_day().to(device)
        counts = data.counts(device)
        probs = counts / counts.sum()
        drawn = batch_size + negatives.num_uniform
        mixed = (batch_size * probs + negatives.num_uniform / len(probs)) / drawn
        self._log_q = log_relative(mixed) if negatives.logq_correction else None
        self._windows: EventWindows | None = None
        if model.config.history == "transformer":
            self._windows = EventWindows.cut(data.events, data.train_rows, model.config.history_length + 1)

    @property
    def units(self) -> Units:
        if self._windows is None:
            return Units.of_rows(self.data.train_rows)
        return Units(np.arange(len(self._windows)), self._windows.num_rows, self._windows.stops - self._windows.starts)

    def build(self, ids: LongArray) -> Batch:
        if self._windows is None:
            return self._inputs(ids, masked=True)
        return self.data.batch_of_windows(self._windows, ids, masked=True)

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        if self.negatives.source == "catalogue":
            return self._catalogue_loss(batch)
        return self._in_batch_loss(batch, generator)

    def evaluate(self) -> Metrics:
        """Recall@10, @100, @300 and NDCG@10 over all launched items.

        Raises:
            TrainingError: a score is not finite.
        """
        rows = self.data.validation_rows
        device = self._age_buckets.device
        candidates = self.model.candidate(torch.arange(len(self.model.items), device=device))
        sums = torch.zeros(len(_CUTOFFS) + 1, dtype=torch.float64, device=device)
        broken = torch.zeros((), dtype=torch.int64, device=device)
        for start in range(0, len(rows), _EVALUATION_ROWS):
            batch = self._inputs(rows[start : start + _EVALUATION_ROWS], masked=False).to(device)
            scores = self.model.query(batch.queries) @ candidates.T + self._day_bias()[batch.day]
            ranks = TiedRanks(scores, scores.gather(1, batch.positives[:, None]))
            values = [*(ranks.hit_rate(cutoff) for cutoff in _CUTOFFS), ranks.ndcg(_CUTOFFS[0])]
            sums += torch.stack(values).sum(dim=1)
            broken += are_broken(scores).sum()
        names = [*(f"recall@{cutoff}" for cutoff in _CUTOFFS), f"ndcg@{_CUTOFFS[0]}"]
        return averages(names, sums, broken, torch.full_like(sums, len(rows)))

    def _inputs(self, rows: LongArray, *, masked: bool) -> Batch:
        config = self.model.config
        return self.data.batch(
            rows, history_length=config.history_length, history_days=config.history_days, masked=masked
        )

    def _day_bias(self) -> Tensor:
        """Age bias of every item on every day [D, I]; `EXCLUDED` before the item's launch."""
        excluded = self.model.age_bias.new_full((1,), EXCLUDED)
        return torch.cat([self.model.age_bias, excluded])[self._age_buckets]

    def _catalogue_loss(self, batch: Batch) -> Tensor:
        """Softmax over all launched items; a hidden positive has its out-of-vocabulary embedding."""
        num_items, hidden_rows = len(self.model.items), batch.hidden.nonzero().flatten()
        rows = torch.arange(num_items, device=hidden_rows.device)
        rows = torch.cat([rows, batch.positives[hidden_rows]])
        hidden = torch.arange(len(rows), device=rows.device) >= num_items
        queries, candidates = self._factors(batch, rows, hidden)
        own = OwnPositives(hidden_rows, candidates[num_items:])
        return product_softmax_loss(queries, candidates[:num_items], batch.positives, own=own)

    def _in_batch_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        rows, hidden = batch.positives, batch.hidden
        target = torch.arange(len(batch), device=rows.device)
        if self.negatives.num_uniform:
            extra = (self.negatives.num_uniform,)
            drawn = torch.randint(len(self.model.items), extra, generator=generator, device=rows.device)
            rows, hidden = torch.cat([rows, drawn]), torch.cat([hidden, hidden.new_zeros(extra)])
        queries, candidates = self._factors(batch, rows, hidden)
        hits = accidental_hits(batch.positives, rows, target) if self.negatives.mask_accidental_hits else None
        log_q = None if self._log_q is None else self._log_q[rows]
        return product_softmax_loss(queries, candidates, target, log_q=log_q, excluded=hits)

    def _factors(self, batch: Batch, rows: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Query and candidate embeddings whose product is the score; items that are not launched yet are excluded.

        The bias of an item's age depends on the query's day only: it is one more component of the product per day.
        """
        queries, candidates = self.model.query(batch.queries, batch.windows), self.model.candidate(rows, hidden)
        days = F.one_hot(batch.day, len(self._age_buckets)).to(queries.dtype)
        return torch.cat([queries, days], dim=1), torch.cat([candidates, self._day_bias()[:, rows].T], dim=1)
