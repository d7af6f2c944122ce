"""The ranker as a task of the training loop: its rows, negatives, losses and validation."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final, Literal, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from contracts.config import StrictConfig
from contracts.history import HistoryReach
from contracts.ids import LongArray
from training.losses import counted_mean, sampled_bce_loss, sampled_softmax_loss
from training.models.inputs import CandidateGroup, as_tensor
from training.models.ranker import Ranker
from training.models.two_tower import TwoTower
from training.negatives import ItemSampler, draw_rows, in_batch_negatives
from training.trainers.data import Batch, WorkerData, age_buckets
from training.trainers.retrieval_scores import RetrievalScores
from training.trainers.steps.batches import Units
from training.trainers.steps.loop import Metrics
from training.trainers.tied_ranks import TiedRanks, are_broken, averages

RETRIEVED: Final = 300
_CUTOFF: Final = 10
_EVALUATION_ROWS: Final = 128
_EVALUATION_NEGATIVES: Final = 100
_EVALUATION_SEED: Final = 0


class RankerLossConfig(StrictConfig):
    """Negatives and loss of a training row."""

    loss: Literal["bce", "softmax"] = "softmax"
    """`bce`: each candidate by itself; `softmax`: the positive among its negatives."""
    negatives: Literal["in_batch", "popularity", "retrieval", "list"] = "popularity"
    """`in_batch`: positives of other queries; `popularity`: draws by popularity; `retrieval`: by retrieval score;
    `list`: uniform draws from the retrieved list."""
    num_negatives: int = Field(default=5, ge=1)
    """Number of negatives per positive."""
    shared: bool = False
    """Whether all queries of a batch share the drawn negatives, which allows many more in the same time."""
    uniform_share: float = Field(default=0.0, ge=0, le=1)
    """Share of uniform draws."""
    logq_correction: bool = True
    """Whether logits are corrected for the probability that an item is drawn."""

    @model_validator(mode="after")
    def _options_of_draws(self) -> RankerLossConfig:
        if self.negatives != "popularity" and (self.shared or self.uniform_share):
            raise ValueError(
                f"negatives={self.negatives} with shared={self.shared}, uniform_share={self.uniform_share}: "
                "both need negatives=popularity"
            )
        return self


class RankingTask:
    """Trains a ranker to put a positive before sampled negatives.

    In-batch negatives and binary cross-entropy without correction are the reference's recipe.

    Raises:
        ConfigError: ranker and two-tower read histories of different days.
    """

    def __init__(self, model: nn.Module, retrieval: TwoTower, data: WorkerData, config: RankerLossConfig) -> None:
        self.model, self.data, self.config = model, data, config
        self._ranker = cast(Ranker, model)
        self._retrieval = RetrievalScores(retrieval, data)
        self._reach = HistoryReach.of({"two_tower.model": retrieval.config, "ranker.model": self._ranker.config})
        device = retrieval.items.encoded_id.device
        self._launched_at = as_tensor(data.items.launched_at).to(device)
        self._popularity = data.popularity_by_day(device) if self._ranker.config.popularity else None
        self._sampler = ItemSampler(data.counts(device), config.uniform_share)

    @property
    def units(self) -> Units:
        return Units.of_rows(self.data.train_rows)

    def build(self, ids: LongArray) -> Batch:
        return self._inputs(ids, masked=True)

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        positives, queries = batch.positives[:, None], self._retrieval_queries(batch)
        negatives, log_q = self._draw(batch, queries, generator)
        logits = self._logits(batch, queries, positives, negatives, hidden=batch.hidden[:, None])
        hits = F.pad(negatives == positives, (1, 0))
        late = [self._launched_at[rows] > batch.now[:, None] for rows in (positives, negatives)]
        return self._loss_of(logits, hits | torch.cat(late, dim=1), log_q)

    def evaluate(self) -> Metrics:
        """HR@10 and NDCG@10 of the retrieved items as the ranker orders them, and its AUC.

        The AUC uses 100 launched items per positive, drawn by popularity.

        Raises:
            TrainingError: a score is not finite.
        """
        rows = self.data.validation_rows
        device = self._launched_at.device
        generator = torch.Generator(device).manual_seed(_EVALUATION_SEED)
        sums, counts = torch.zeros(2, 3, dtype=torch.float64, device=device)
        broken = torch.zeros((), dtype=torch.int64, device=device)
        for start in range(0, len(rows), _EVALUATION_ROWS):
            batch = self._inputs(rows[start : start + _EVALUATION_ROWS], masked=False).to(device)
            order, order_broken = self._order_sums(batch)
            auc, auc_rows, auc_broken = self._auc_sums(batch, generator)
            sums += torch.cat([order, auc[None]])
            counts += torch.stack([*2 * (torch.full_like(auc, len(batch)),), auc_rows])
            broken += (order_broken | auc_broken).sum()
        return averages((f"hr@{_CUTOFF}", f"ndcg@{_CUTOFF}", "auc_popularity_negatives"), sums, broken, counts)

    def _loss_of(self, logits: Tensor, excluded: Tensor, log_q: Tensor) -> Tensor:
        """Loss of logits, exclusions and draws [B, C] whose first column is the positive, see `training.losses`."""
        loss = sampled_softmax_loss if self.config.loss == "softmax" else sampled_bce_loss
        target = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        return loss(logits, target, excluded=excluded, log_q=log_q if self.config.logq_correction else None)

    def _order_sums(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Hits and NDCG [2] where the ranker orders the retrieved items, and which rows have broken scores."""
        scores, retrieved = self._retrieval.top(batch, self._retrieval.queries(batch), RETRIEVED)
        logits = self._ranker.logits(batch.queries, self._group(batch, retrieved, scores))
        is_late = self._launched_at[retrieved] > batch.now[:, None]  # fewer than 300 items are launched
        shown = logits.masked_fill(is_late, -torch.inf)
        is_positive = retrieved == batch.positives[:, None]
        ranks = TiedRanks(shown, shown.masked_fill(~is_positive, -torch.inf).amax(dim=1, keepdim=True))
        return torch.stack([ranks.hit_rate(_CUTOFF).sum(), ranks.ndcg(_CUTOFF).sum()]), are_broken(logits)

    def _auc_sums(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Sum over rows of the share of negatives that score below the positive; ties count half.

        Returns:
            The sum, the number of rows that had a negative, and which rows have broken scores.
        """
        negatives = self._sampler.draw((len(batch), _EVALUATION_NEGATIVES), generator)
        logits = self._logits(batch, self._retrieval_queries(batch), batch.positives[:, None], negatives)
        counted = (negatives != batch.positives[:, None]) & (self._launched_at[negatives] <= batch.now[:, None])
        below = (logits[:, 1:] < logits[:, :1]).double() + 0.5 * (logits[:, 1:] == logits[:, :1])
        num_counted = counted.sum(dim=1)
        total_auc = ((below * counted).sum(dim=1) / num_counted.clamp(min=1)).sum()
        return total_auc, (num_counted > 0).sum().double(), are_broken(logits)

    @torch.no_grad()
    def _retrieval_queries(self, batch: Batch) -> Tensor | None:
        """Query embeddings [B, E] of the fixed retriever; None where neither ranker nor negatives need them."""
        needed = self._ranker.config.retrieval_score or self.config.negatives == "retrieval"
        return self._retrieval.queries(batch) if needed else None

    def _logits(
        self, batch: Batch, queries: Tensor | None, *candidates: Tensor, hidden: Tensor | None = None
    ) -> Tensor:
        """Logits [B, C of all] of groups of ItemRows [B or 1, C].

        Args:
            batch: B rows.
            queries: the retriever's [B, E].
            candidates: the groups.
            hidden: of the first group [B, C] bool: ids that become out of vocabulary for both models.
        """
        groups = []
        for rows, unknown in zip(candidates, (hidden, *(None for _ in candidates[1:])), strict=True):
            scores = torch.zeros((len(batch), rows.shape[1]), device=rows.device)
            if queries is not None:
                with torch.no_grad():
                    scores = self._retrieval.scores(batch, queries, rows, unknown)
            groups.append(replace(self._group(batch, rows, scores), hidden=unknown))
        return self._ranker.logits(batch.queries, *groups)

    def _group(self, batch: Batch, rows: Tensor, scores: Tensor) -> CandidateGroup:
        """ItemRows [B or 1, C] with retrieval scores [B, C] and their inputs at each row's time."""
        buckets = age_buckets(self._launched_at[rows], batch.now[:, None])
        popularity = None if self._popularity is None else self._popularity[batch.day[:, None], rows]
        return CandidateGroup(rows, scores, buckets, popularity)

    @torch.no_grad()
    def _draw(self, batch: Batch, queries: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Negatives [B or 1, C], and log(Q * I) [B, 1 + C] of the positive and of them."""
        count, positives = self.config.num_negatives, batch.positives[:, None]
        if queries is not None and self.config.negatives == "retrieval":
            log_probs = self._retrieval.log_probs(batch, queries)
            negatives = draw_rows(log_probs.exp(), count, generator)
            log_q = log_probs.gather(1, torch.cat([positives, negatives], dim=1))
            return negatives, log_q + math.log(log_probs.shape[1])
        if self.config.negatives == "in_batch":
            negatives = in_batch_negatives(batch.positives, count, generator)
        else:
            negatives = self._sampler.draw((1 if self.config.shared else len(batch), count), generator)
        drawn = self._sampler.log_q[negatives].expand(len(batch), -1)
        return negatives, torch.cat([self._sampler.log_q[positives], drawn], dim=1)

    def _inputs(self, rows: LongArray, *, masked: bool) -> Batch:
        reach = self._reach
        return self.data.batch(rows, history_length=reach.length, history_days=reach.days, masked=masked)


class LabelTask(RankingTask):
    """Trains a ranker to predict the label of every labelled event."""

    @property
    def units(self) -> Units:
        return Units.of_rows(self.data.labelled_rows)

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        queries, hidden = self._retrieval_queries(batch), batch.hidden[:, None]
        logits = self._logits(batch, queries, batch.positives[:, None], hidden=hidden)
        losses = F.binary_cross_entropy_with_logits(logits[:, 0], batch.label, reduction="none")
        return counted_mean(losses, self._launched_at[batch.positives] <= batch.now)
