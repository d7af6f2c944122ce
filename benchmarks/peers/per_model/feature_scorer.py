"""The ranker on item features of the message, for a deployment per model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from benchmarks.peers.per_model.parts import ItemInputs, Unrolled, content_features, stored_features
from contracts.bundle import Bundle
from contracts.catalogue import ItemFeatures
from contracts.encoded import EncodedColumns, joined
from contracts.errors import StageError
from contracts.feature import Side
from contracts.ids import FloatArray, IntArray
from contracts.messages import Candidates, Pairs, QueryFeatures
from contracts.schema import SideLayout
from serving.stages.content_lookup import ContentLookup
from serving.stages.version import refuse_other_version
from training.models.inputs import ItemTensors, PairTensors, QueryTensors
from training.models.loading import load_ranker


class FeatureScorer:
    """Scores candidates by given item features instead of the catalogue's.

    Args:
        bundle: the bundle whose ranker it is.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._version = bundle.version
        self._ranker = load_ranker(bundle, prepare=False)
        self._launched_at = bundle.items.launched_at
        self._stored, self._content = stored_features(bundle.schema), content_features(bundle.schema)
        self._layout = bundle.schema.layout(Side.ITEM)

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
            StageError: a logit is not finite.
        """
        refuse_other_version(queries.bundle_version, self._version)
        refuse_other_version(candidates.bundle_version, self._version)
        past = queries.history.rows
        places = np.where(past >= 0, np.searchsorted(used, past), past).astype(np.int32)
        placed = replace(queries, history=replace(queries.history, rows=places))
        rows = np.searchsorted(used, candidates.rows).astype(np.int32)
        pairs = Pairs(unrolled.owners, rows, candidates.scores, unrolled.ages, unrolled.popularity)
        given = self._tensors(used, items, content)
        with torch.inference_mode():
            scored = self._ranker.score(QueryTensors.from_features(placed), PairTensors.of(pairs), given)
            logits: FloatArray = scored.numpy()
        if not np.isfinite(logits).all():
            raise StageError("ranking: the ranker's logits are not all finite; check the bundle's weights")
        return candidates.with_scores(logits)

    def _tensors(self, used: IntArray, items: ItemInputs, content: ContentLookup) -> ItemTensors:
        vectors = {"text": content.text, "image": content.image}
        found = EncodedColumns(
            items.columns.digest,
            np.zeros((len(used), 0), dtype=np.int32),
            np.zeros((len(used), 0), dtype=np.float32),
            vectors=tuple(vectors[feature.column_name] for feature in self._content),
        )
        parts = [(SideLayout.of(self._stored), items.columns), (SideLayout.of(self._content), found)]
        columns = joined(parts, self._layout)
        return ItemTensors(ItemFeatures(columns, self._launched_at[used]), items.encoded_id)
