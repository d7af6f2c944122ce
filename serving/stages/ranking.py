"""Ranking: item columns by ItemRow and the ranker, all candidates of a batch in one call."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from contracts.bundle import Bundle
from contracts.errors import StageError
from contracts.features import item_age_bucket
from contracts.ids import FloatArray, IntArray, LongArray
from contracts.messages import Candidates, QueryFeatures
from serving.placing.device import Device
from serving.stages.version import refuse_other_version
from training.models.item_popularity import ItemPopularity


class Scorer(Protocol):
    """The ranker as this stage sees it: NumPy in, logits out."""

    def __call__(
        self,
        queries: QueryFeatures,
        rows: IntArray,
        owners: LongArray,
        retrieval_scores: FloatArray,
        ages: IntArray,
        popularity: FloatArray | None = None,
    ) -> FloatArray:
        """Logits [T] of candidates [T] of B queries; `ages` are item age buckets, `popularity` as the ranker wants."""
        ...


class Ranking:
    """Candidates with retrieval scores to the same candidates with the ranker's logits.

    Reference model: 6b dlrm_ranking
    Input: query features, candidates with retrieval scores, item features by ItemRow
    Output: the same candidates with logits; the served score is their sigmoid
    Artifacts: `ranker/weights.safetensors`, `ranker/encoded_id`, `ranker/popularity` if it reads that, item columns
    Failure: left out: the order of retrieval stays, `ranking` in `degraded`
    Cadence: each bundle

    Reference model: 5b nvt_item_transform
    Input: item columns
    Output: encoded id, codes, normalised log price
    Artifacts: `ranker/encoded_id`, mean and spread of log prices
    Failure: with the ranking
    Cadence: fitted at a full build on the whole catalogue

    Reference model: 6a unroll_features
    Input: query features of B requests, T candidates
    Output: owner and age bucket of each candidate [T], popularity if the ranker reads it; features are never copied
    Artifacts: launch times, `ranker/popularity`
    Failure: with the ranking
    Cadence: none: arithmetic only

    The ranker reads item features from the bundle's mapped columns by ItemRow: nothing is copied or sent.
    """

    def __init__(
        self, bundle_version: str, scorer: Scorer, launched_at: LongArray, popularity: ItemPopularity | None = None
    ) -> None:
        self._version = bundle_version
        self._scorer = scorer
        self._launched_at = launched_at
        self._popularity = popularity

    @classmethod
    def open(cls, bundle: Bundle, device: Device = "auto") -> Ranking:
        """Loads the ranker of a bundle.

        Raises:
            ConfigError: the device is not there.
        """
        from serving.stages.torch_scorer import TorchScorer  # torch: only where the model runs

        scorer, popularity = TorchScorer.open(bundle, device), ItemPopularity.open(bundle)
        return cls(bundle.version, scorer, bundle.items.launched_at, popularity)

    def __call__(self, queries: QueryFeatures, candidates: Candidates) -> Candidates:
        """The candidates in their order with logits as scores.

        Raises:
            BundleError: the messages are of another bundle version.
            StageError: the ranker gave something that is no number.
        """
        refuse_other_version(queries.bundle_version, self._version)
        refuse_other_version(candidates.bundle_version, self._version)
        if len(candidates.rows) == 0:
            return candidates
        owners = candidates.owners
        ages = item_age_bucket(self._launched_at[candidates.rows], queries.now[owners])
        table = self._popularity
        popularity = None if table is None else table.of(candidates.rows, owners, queries.now)
        logits = self._scorer(queries, candidates.rows, owners, candidates.scores, ages, popularity)
        if not np.isfinite(logits).all():
            raise StageError("ranking: the ranker's logits are not all finite; check the bundle's weights")
        return candidates.with_scores(logits)
