"""The two-tower as a task of the training loop: its losses and its validation."""

from __future__ import annotations

from typing import Final, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from contracts.config import StrictConfig
from contracts.ids import LongArray
from training.losses import EXCLUDED, accidental_hits, product_softmax_loss
from training.models.two_tower import TwoTower
from training.negatives import log_relative
from training.trainers.data import Batch, WorkerData
from training.trainers.loop import Metrics
from training.trainers.workers import total

_CUTOFFS: Final = (10, 100, 300)
_EVALUATION_ROWS: Final = 1_024


class NegativesConfig(StrictConfig):
    """What the positive of a query is compared with."""

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
    `training.losses`. Uniform draws beside them: see `training.negatives.ItemSampler`.
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

    @property
    def train_rows(self) -> LongArray:
        return self.data.train_rows

    def build(self, rows: LongArray) -> Batch:
        return self._inputs(rows, masked=True)

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        if self.negatives.source == "catalogue":
            return self._catalogue_loss(batch)
        return self._in_batch_loss(batch, generator)

    def evaluate(self) -> Metrics:
        """Recall@10, @100, @300 and NDCG@10 over all launched items."""
        rows = self.data.validation_rows
        device = self._age_buckets.device
        candidates = self.model.candidate(torch.arange(len(self.model.items), device=device))
        sums = torch.zeros(len(_CUTOFFS) + 2, dtype=torch.float64, device=device)
        for start in range(0, len(rows), _EVALUATION_ROWS):
            batch = self._inputs(rows[start : start + _EVALUATION_ROWS], masked=False).to(device)
            scores = self.model.query(batch.queries) @ candidates.T + self._day_bias()[batch.day]
            rank = (scores > scores.gather(1, batch.positives[:, None])).sum(dim=1)
            hits = [(rank < cutoff).sum() for cutoff in _CUTOFFS]
            ndcg = (1 / torch.log2(rank + 2.0))[rank < _CUTOFFS[0]].sum()
            sums += torch.stack([*hits, ndcg, torch.tensor(len(rank), device=device)])
        *hits_all, ndcg_all, count = total(sums).tolist()
        names = [f"recall@{cutoff}" for cutoff in _CUTOFFS] + ["ndcg@10"]
        return {name: value / max(count, 1) for name, value in zip(names, [*hits_all, ndcg_all], strict=True)}

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
        rows = torch.arange(len(self.model.items), device=self._age_buckets.device)
        queries, candidates = self._factors(batch, rows, None)
        return product_softmax_loss(queries, candidates, batch.positives)

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

    def _factors(self, batch: Batch, rows: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
        """Query and candidate embeddings whose product is the score.

        The age bias of an item depends on the query's day only: it joins the product as one more component a day.
        """
        queries, candidates = self.model.query(batch.queries), self.model.candidate(rows, hidden)
        if not self.model.config.item_age:
            return queries, candidates
        days = F.one_hot(batch.day, len(self._age_buckets)).to(queries.dtype)
        return torch.cat([queries, days], dim=1), torch.cat([candidates, self._day_bias()[:, rows].T], dim=1)
