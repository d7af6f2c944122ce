"""The ranker on item features that come with the message, as where every model is a deployment."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.peers.per_model.parts import ItemInputs, Unrolled
from contracts.bundle import Bundle
from contracts.errors import StageError
from contracts.ids import FloatArray, IntArray
from contracts.messages import Candidates, QueryFeatures
from serving.stages.content_lookup import ContentLookup
from serving.stages.version import refuse_other_version
from training.models.inputs import QueryTensors, as_tensor
from training.models.loading import load_ranker


class FeatureScorer:
    """Scores candidates whose items' features are given instead of read from the catalogue.

    Args:
        bundle: the bundle whose ranker it is.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._version = bundle.version
        self._score = _Score(load_ranker(bundle, prepare=False))

    def __call__(
        self,
        queries: QueryFeatures,
        candidates: Candidates,
        used: IntArray,
        items: ItemInputs,
        content: ContentLookup,
        unrolled: Unrolled,
    ) -> Candidates:
        """The candidates in their order with logits as scores.

        Args:
            queries: features of B queries.
            candidates: of the same, T in all.
            used: distinct ItemRows [U], ascending, of all candidates and histories.
            items: their model inputs.
            content: their embeddings.
            unrolled: query, age and popularity of each candidate.

        Raises:
            BundleError: the messages are of another bundle version.
            StageError: the ranker gave something that is no number.
        """
        refuse_other_version(queries.bundle_version, self._version)
        refuse_other_version(candidates.bundle_version, self._version)
        past = queries.history.rows
        places = np.where(past >= 0, np.searchsorted(used, past), past).astype(np.int32)
        placed = dataclasses.replace(queries, history=dataclasses.replace(queries.history, rows=places))
        features = {name: getattr(items, name) for name in ("encoded_id", "categorical", "continuous")}
        features |= {"text": content.text, "image": content.image}
        popularity = None if unrolled.popularity is None else as_tensor(unrolled.popularity)
        with torch.inference_mode():
            logits: FloatArray = functional_call(
                self._score,
                {f"ranker.items.{name}": as_tensor(np.ascontiguousarray(array)) for name, array in features.items()},
                (
                    QueryTensors.from_features(placed),
                    as_tensor(np.searchsorted(used, candidates.rows)),
                    as_tensor(unrolled.owners),
                    as_tensor(candidates.scores),
                    as_tensor(unrolled.ages.astype(np.int64)),
                    popularity,
                ),
            ).numpy()
        if not np.isfinite(logits).all():
            raise StageError("ranking: the ranker's logits are not all finite; check the bundle's weights")
        return candidates.with_scores(logits)


class _Score(nn.Module):
    """`functional_call` calls `forward`."""

    def __init__(self, ranker: Any) -> None:
        super().__init__()
        self.ranker = ranker

    def forward(self, *inputs: Any) -> Tensor:
        logits: Tensor = self.ranker.score(*inputs)
        return logits
