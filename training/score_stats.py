"""Statistics of the scores of served lists when a bundle was made; drift shows in them first."""

from __future__ import annotations

from typing import Final, TypedDict

import numpy as np
import torch

from contracts.catalogue import ItemFeatures
from contracts.clock import ShopCalendar
from contracts.ids import FloatArray
from contracts.messages import Candidates, QueryFeatures
from training.models.candidate_index import CandidateIndex
from training.models.inputs import PairTensors, QueryTensors
from training.models.item_popularity import ItemPopularity, pairs_of
from training.models.ranker import Ranker
from training.models.two_tower import TwoTower
from training.reference_stats import Histogram, ReferenceStats, histogram

RETRIEVAL_K: Final = 100
LIST_K: Final = 10


class ScoreStats(TypedDict):
    """Statistics of the scores; those of ranking are sigmoids."""

    retrieval: Histogram
    ranking: Histogram


class BundleStats(ReferenceStats):
    """All statistics that a bundle holds."""

    scores: ScoreStats


def score_stats(
    two_tower: TwoTower,
    ranker: Ranker,
    candidates: FloatArray,
    items: ItemFeatures,
    queries: QueryFeatures,
    calendar: ShopCalendar,
    popularity: ItemPopularity | None = None,
) -> ScoreStats:
    """Histograms of the scores of the first `LIST_K` items, as retrieved and as ranked.

    Args:
        two_tower: the retrieval model.
        ranker: the ranker.
        candidates: embeddings of the catalogue [I, E].
        items: the catalogue.
        queries: features of n queries; their batch holds n x I scores at once.
        calendar: the shop's.
        popularity: of the items, where the ranker reads it.
    """
    tensors = QueryTensors.from_features(queries)
    with torch.inference_mode():
        bias = two_tower.day_bias(items.launched_at, queries.now, calendar).numpy()
        found = CandidateIndex(candidates).search(
            two_tower.query(tensors).numpy(), RETRIEVAL_K, bias, items.launched_at <= queries.now[:, None]
        )
        retrieved = Candidates(queries.bundle_version, found.rows, found.scores, found.lengths)
        pairs = pairs_of(queries, retrieved, items.launched_at, popularity)
        logits = ranker.score(tensors, PairTensors.of(pairs))
        owners = pairs.owners
        scores = torch.sigmoid(logits).numpy()
    places = np.arange(len(owners)) - np.repeat(np.cumsum(found.lengths) - found.lengths, found.lengths)
    order = np.lexsort((-scores, owners))  # ranked lists in the order of owners, so `places` fits both
    listed = places < LIST_K
    return {"retrieval": histogram(found.scores[listed]), "ranking": histogram(scores[order][listed])}
