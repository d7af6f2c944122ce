"""Outputs of a trained two-tower for training the ranker: retrieval scores, and the candidates that it retrieves."""

from __future__ import annotations

import torch
from torch import Tensor

from training.losses import EXCLUDED
from training.models.two_tower import TwoTower
from training.trainers.data import Batch, WorkerData


class RetrievalScores:
    """Scores of a fixed two-tower: query · candidate + age bias at the start of the query's day."""

    def __init__(self, model: TwoTower, data: WorkerData) -> None:
        self._model = model.eval()
        rows = torch.arange(len(model.items), device=model.items.encoded_id.device)
        with torch.no_grad():
            self._candidates = model.candidate(rows)
            self._hidden_candidates = model.candidate(rows, torch.ones_like(rows, dtype=torch.bool))
            excluded = model.age_bias.new_full((1,), EXCLUDED)
            self._bias = torch.cat([model.age_bias, excluded])[data.age_buckets_by_day().to(excluded.device)]

    def queries(self, batch: Batch) -> Tensor:
        """Query embeddings [B, E]."""
        return self._model.query(batch.queries)

    def scores(self, batch: Batch, queries: Tensor, rows: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Scores [B, C] of ItemRows [B or 1, C]; of `hidden` ones [B, C] bool as if their id were out of vocabulary."""
        bias = self._bias[batch.day[:, None], rows]
        if hidden is None and len(rows) == 1:
            return queries @ self._candidates[rows[0]].T + bias
        candidates = self._candidates[rows]
        if hidden is not None:
            candidates = torch.where(hidden[..., None], self._hidden_candidates[rows], candidates)
        return torch.bmm(candidates, queries[..., None]).squeeze(-1) + bias

    def top(self, batch: Batch, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Scores and ItemRows [B, count] of the best launched items, best first."""
        scores = queries @ self._candidates.T + self._bias[batch.day]
        best = scores.topk(min(count, scores.shape[1]), dim=1)
        return best.values, best.indices

    def log_probs(self, batch: Batch, queries: Tensor) -> Tensor:
        """Logs of the softmax of the scores over the items launched by the day's start, [B, I].

        Draws from it resemble the candidates that the ranker will score, and are so close to the full softmax that few
        of them estimate it well (Bengio and Senecal, "Adaptive Importance Sampling to Accelerate Training of a Neural
        Probabilistic Language Model", 2008).
        """
        return (queries @ self._candidates.T + self._bias[batch.day]).log_softmax(dim=1)
