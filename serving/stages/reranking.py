"""Reranking: picks the final k items, greedily or sampled, with diversity."""

from __future__ import annotations

from typing import Final

import numpy as np

from contracts.bundle import Bundle
from contracts.ids import AnyArray, FloatArray, IntArray, LongArray
from contracts.messages import Candidates, Reranked
from contracts.options import CAPPED_COLUMNS, Order, RerankingOptions
from contracts.top_k import from_keys, sort_keys
from serving.stages.content_lookup import ContentLookup
from serving.stages.diversity import Similarity, draw_in_turn
from serving.stages.item_lookup import ItemLookup
from serving.stages.sampling import Drawn, Pool, draw_at_once
from serving.stages.version import refuse_other_version

WEIGHTED_POOL: Final = 100
"""`Order.WEIGHTED` samples from this many of the best, as the reference does, or from k if that is more."""


class Reranking:
    """Picks the final lists; scores become sigmoids.

    Reference model: 6c softmax_sampling
    Input: candidates with logits, k, reranking options
    Output: k items of each request with scores and propensities; greedy, sampled or weighted, with caps and MMR
    Artifacts: item columns and embeddings, for diversity
    Failure: the gateway does the same, `reranking` in `degraded`
    Cadence: none: settings and request decide

    Args:
        bundle_version: the version that it serves.
        items: categories, for the caps.
        content: embeddings, for similarity.
    """

    def __init__(self, bundle_version: str, items: ItemLookup, content: ContentLookup) -> None:
        self._version = bundle_version
        self._items = items
        self._content = content

    @classmethod
    def open(cls, bundle: Bundle) -> Reranking:
        """Maps what diversity reads from a bundle."""
        return cls(bundle.version, ItemLookup.open(bundle), ContentLookup.open(bundle))

    def __call__(self, candidates: Candidates, k: IntArray, options: RerankingOptions | None = None) -> Reranked:
        """At most k[b] candidates of each request b: fewer where there are not as many, or caps allow no more.

        Args:
            candidates: scored by logits.
            k: [B] int32.
            options: how; None = highest score first, exact ties by ItemRow.

        Raises:
            BundleError: the candidates are of another bundle version.
        """
        refuse_other_version(candidates.bundle_version, self._version)
        if options is None or len(candidates.rows) == 0:
            return _greedy(candidates, k)
        pool = _pool(candidates, k, options)
        width = min(int(k.max()), pool.rows.shape[1])
        columns = np.full((len(k), width), -1, dtype=np.int64)
        propensities = np.ones((len(k), width))
        for part, draw in ((~options.diverse, draw_at_once), (options.diverse, self._draw_in_turn)):
            if part.any():
                drawn = draw(pool.take(part), width)
                columns[part], propensities[part] = drawn.columns, drawn.propensities
        picked = columns >= 0
        top = (candidates.offsets[:-1, None] + columns)[picked]
        rows, scores = candidates.rows[top], candidates.scores[top]
        return _reranked(self._version, rows, scores, picked.sum(axis=1), propensities[picked])

    def _draw_in_turn(self, pool: Pool, width: int) -> Drawn:
        codes = np.stack([self._items.codes(column)[pool.rows] for column in CAPPED_COLUMNS], axis=-1)
        return draw_in_turn(pool, width, codes, self._similarity(pool.rows) if pool.options.mmr.any() else None)

    def _similarity(self, rows: IntArray) -> Similarity:
        """Cosines of candidates [F, N]; looks up each item once."""
        used, inverse = np.unique(rows, return_inverse=True)
        place = inverse.reshape(rows.shape)
        directions, everyone = self._content.directions(used), np.arange(len(rows))

        def similar_to(columns: LongArray) -> FloatArray:
            cosines = directions[place[everyone, columns]] @ directions.T
            return np.take_along_axis(cosines, place, axis=1)

        return similar_to


def _greedy(candidates: Candidates, k: IntArray) -> Reranked:
    lengths = np.minimum(candidates.lengths, k)
    valid = np.arange(candidates.lengths.max(initial=0)) < candidates.lengths[:, None]
    keys: LongArray = np.full(valid.shape, np.iinfo(np.int64).min)
    keys[valid] = sort_keys(candidates.scores, candidates.rows)
    width = int(lengths.max(initial=0))
    surplus = keys.shape[1] - width
    if surplus > 0:
        keys = np.partition(keys, surplus, axis=1)[:, surplus:]
    keys = np.sort(keys, axis=1)[:, ::-1]
    rows, scores = from_keys(keys[np.arange(width) < lengths[:, None]])
    return _reranked(candidates.bundle_version, rows, scores, lengths, np.ones(len(rows)))


def _pool(candidates: Candidates, k: IntArray, options: RerankingOptions) -> Pool:
    valid = np.arange(candidates.lengths.max()) < candidates.lengths[:, None]
    rows = np.zeros(valid.shape, dtype=np.int32)
    rows[valid] = candidates.rows
    utilities = np.zeros(valid.shape)
    utilities[valid] = candidates.scores
    weighted = options.order == Order.WEIGHTED
    if weighted.any():
        best = np.argsort(np.lexsort((rows, np.where(valid, -utilities, np.inf)), axis=-1), axis=-1)
        valid &= (best < np.maximum(k, WEIGHTED_POOL)[:, None]) | ~weighted[:, None]
        utilities[weighted] = sigmoid(utilities[weighted])
    return Pool(rows, utilities, valid, k, options)


def _reranked(version: str, rows: IntArray, logits: FloatArray, lengths: AnyArray, propensities: AnyArray) -> Reranked:
    items = Candidates(version, rows, sigmoid(logits), lengths.astype(np.int32))
    return Reranked(items, propensities.astype(np.float32))


def sigmoid(logits: AnyArray) -> AnyArray:
    """1 / (1 + exp(-x)) in the type of the logits, without overflow."""
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, logits.dtype.type(1), small) / (1 + small))
