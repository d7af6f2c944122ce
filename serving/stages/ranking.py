"""Ranking: item columns by ItemRow and the ranker, all candidates of a batch in one call."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from contracts.bundle import Bundle
from contracts.errors import StageError
from contracts.ids import FloatArray, LongArray
from contracts.messages import Candidates, Pairs, QueryFeatures
from serving.placing.device import Device
from serving.stages.version import refuse_other_schema, refuse_other_version
from training.models.item_popularity import ItemPopularity, pairs_of


class Scorer(Protocol):
    """The ranker with a NumPy interface."""

    def __call__(self, queries: QueryFeatures, pairs: Pairs) -> FloatArray:
        """Logits [T] of T candidates of B queries."""
        ...


class Ranking:
    """Scores candidates with the ranker's logits.

    Reference model: 6b dlrm_ranking
    Input: query features, candidates with retrieval scores, item features by ItemRow
    Output: the same candidates with logits; the served score is their sigmoid
    Artifacts: `ranker/weights.safetensors`, `ranker/encoded_id`, `ranker/popularity` if it reads that, item columns
    Failure: skipped: the order of retrieval stays, `ranking` in `degraded`
    Cadence: each bundle

    Reference model: 5b nvt_item_transform
    Input: item columns
    Output: encoded id, encoded columns
    Artifacts: `ranker/encoded_id`, `items`, encoded once by the bundle's transforms
    Failure: as ranking
    Cadence: fitted at a full build on the whole catalogue

    Reference model: 6a unroll_features
    Input: query features of B requests, T candidates
    Output: owner and age bucket of each candidate [T], popularity if the ranker reads it; features are never copied
    Artifacts: launch times, `ranker/popularity`
    Failure: as ranking
    Cadence: none: arithmetic only

    The ranker reads item features from the bundle's mapped columns by ItemRow, without copies.
    """

    def __init__(
        self,
        bundle_version: str,
        schema_digest: str,
        scorer: Scorer,
        launched_at: LongArray,
        popularity: ItemPopularity | None = None,
    ) -> None:
        self._version = bundle_version
        self._digest = schema_digest
        self._scorer = scorer
        self._launched_at = launched_at
        self._popularity = popularity

    @classmethod
    def open(cls, bundle: Bundle, device: Device = "auto") -> Ranking:
        """Loads the ranker of a bundle.

        Raises:
            ConfigError: the device is missing.
        """
        from serving.stages.torch_scorer import TorchScorer  # torch: only where the model runs

        scorer, popularity = TorchScorer.open(bundle, device), ItemPopularity.open(bundle)
        return cls(bundle.version, bundle.schema.digest, scorer, bundle.items.launched_at, popularity)

    def __call__(self, queries: QueryFeatures, candidates: Candidates) -> Candidates:
        """The candidates in their order with logits as scores.

        Raises:
            BundleError: the messages are of another bundle version, or the columns of another schema.
            StageError: a logit is not finite.
        """
        refuse_other_version(queries.bundle_version, self._version)
        refuse_other_version(candidates.bundle_version, self._version)
        refuse_other_schema(queries.columns.digest, self._digest)
        if len(candidates.rows) == 0:
            return candidates
        logits = self._scorer(queries, pairs_of(queries, candidates, self._launched_at, self._popularity))
        if not np.isfinite(logits).all():
            raise StageError("ranking: the ranker's logits are not all finite; check the bundle's weights")
        return candidates.with_scores(logits)
