"""Top candidates by query · candidate + bias, by exact search or FAISS; a search never returns -1."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import faiss
import numpy as np

from contracts.errors import BundleError
from contracts.ids import AnyArray, BoolArray, FloatArray, IntArray, LongArray
from contracts.top_k import sort_keys, top_k

_FETCH_FACTORS: Final = (4, 16)
"""Multiples of k that the approximate index fetches, tried in turn; then search is exact."""


@dataclass(frozen=True)
class Found:
    """Ragged search results, best first within a query, exact ties by ItemRow.

    Attributes:
        rows: [T] int32 ItemRow.
        scores: [T] float32.
        lengths: [B] int32: min(k, number of eligible items).
    """

    rows: IntArray
    scores: FloatArray
    lengths: IntArray


class CandidateIndex:
    """Searches the candidate embeddings of a bundle.

    Args:
        candidates: [I, E] float32, may be memory-mapped.
        approximate: a FAISS index over the same embeddings, or None for exact search.
    """

    def __init__(self, candidates: FloatArray, approximate: faiss.Index | None = None) -> None:
        self._candidates = np.asarray(candidates)
        self._all_rows = np.arange(len(candidates), dtype=np.int32)
        self._approximate = approximate
        self._lifted: _Lifted | None = None

    @classmethod
    def open(cls, index_file: Path, candidates: FloatArray) -> CandidateIndex:
        """Opens a saved index; a flat one means exact search over `candidates`.

        Raises:
            BundleError: the file is no index, or one of other embeddings.
        """
        # mapped, so that the replicas of a machine share it
        try:
            index = faiss.read_index(str(index_file), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise BundleError(f"{index_file.name} is no index that can be read; rebuild it") from error
        if (index.ntotal, index.d) != candidates.shape:
            raise BundleError(
                f"{index_file.name} holds {index.ntotal} embeddings of {index.d}, the candidates are "
                f"{list(candidates.shape)}; build the index anew"
            )
        return cls(candidates, None if isinstance(index, faiss.IndexFlat) else index)

    @property
    def is_exact(self) -> bool:
        return self._approximate is None

    def __len__(self) -> int:
        return len(self._candidates)

    def search(
        self, queries: FloatArray, k: int, bias: FloatArray | None = None, mask: BoolArray | None = None
    ) -> Found:
        """The k best eligible items of each query.

        Args:
            queries: [B, E] float32.
            k: items wanted.
            bias: added to the inner products, [I] or [B, I] float32.
            mask: items that may come back, [I] or [B, I]; None = all.
        """
        if mask is None:
            wanted = np.full(len(queries), min(k, len(self)))
        else:
            wanted = np.minimum(k, np.broadcast_to(np.count_nonzero(mask, axis=-1), len(queries)))
        if self._approximate is None:
            rows, scores = self._search_exactly(queries, k, bias, mask)
        else:
            rows, scores = self._search_approximately(queries, k, wanted, bias, mask)
        inside = np.arange(rows.shape[1]) < wanted[:, None]
        return Found(rows[inside], scores[inside], wanted.astype(np.int32))

    def score(
        self,
        queries: FloatArray,
        rows: IntArray,
        owners: LongArray,
        bias: FloatArray | None = None,
        mask: BoolArray | None = None,
    ) -> Found:
        """Scores provided items, exactly.

        Args:
            queries: [B, E] float32.
            rows: ItemRows [T].
            owners: [T], ascending: the query that each item belongs to.
            bias: as in `search`.
            mask: as in `search`; the other items do not come back.
        """
        scores = np.einsum("te,te->t", queries[owners], self._candidates[rows])
        if bias is not None:
            scores += bias[rows] if bias.ndim == 1 else bias[owners, rows]
        if mask is not None:
            kept = mask[rows] if mask.ndim == 1 else mask[owners, rows]
            rows, owners, scores = rows[kept], owners[kept], scores[kept]
        order = np.lexsort((-sort_keys(scores, rows), owners))
        lengths = np.bincount(owners, minlength=len(queries)).astype(np.int32)
        return Found(rows[order], scores[order], lengths)

    def _search_exactly(
        self, queries: FloatArray, k: int, bias: FloatArray | None, mask: BoolArray | None
    ) -> tuple[IntArray, FloatArray]:
        """Best first, [B, min(k, I)]; items that are not eligible come last with score -inf."""
        scores = queries @ self._candidates.T
        if bias is not None:
            scores += bias
        if mask is not None:
            scores = np.where(mask, scores, np.float32(-np.inf))
        return top_k(scores, self._all_rows, k)

    def _search_approximately(
        self, queries: FloatArray, k: int, wanted: AnyArray, bias: FloatArray | None, mask: BoolArray | None
    ) -> tuple[IntArray, FloatArray]:
        """As `_search_exactly`, over what the FAISS index fetches and all items with a bias above the usual.

        The index knows products only, so an item that its bias lifts might never be fetched: those items are scored
        beside it. A query is done when enough found items score at least the bound of everything that was not fetched.
        The others fetch more, at last everything.
        """
        size = min(k, len(self))
        rows = np.zeros((len(queries), size), dtype=np.int32)
        scores = np.full((len(queries), size), -np.inf, dtype=np.float32)
        lifted = self._lifted_by(bias)
        open_queries = np.arange(len(queries))
        for factor in _FETCH_FACTORS:
            part = _Part(open_queries, bias, mask)
            found, raw = self._fetch(queries[open_queries], min(k * factor, len(self)))
            safe = np.maximum(found, 0)
            usable = (found >= 0) & part.mask_at(safe) & ~lifted.contains[safe]
            biased = np.where(usable, raw + part.bias_at(safe), np.float32(-np.inf))
            bound = np.where(found[:, -1] >= 0, raw[:, -1], -np.inf) + lifted.usual[open_queries % len(lifted.usual)]
            beside = part.scores_of(lifted.rows, queries[open_queries] @ lifted.vectors.T)
            all_scores = np.concatenate([biased, beside], axis=1)
            sure = (all_scores > -np.inf) & (all_scores >= bound[:, None])
            enough = sure.sum(axis=1) >= wanted[open_queries]
            done = open_queries[enough]
            every = np.concatenate([safe, np.broadcast_to(lifted.rows, beside.shape)], axis=1)
            rows[done], scores[done] = top_k(all_scores[enough], every[enough], size)
            open_queries = open_queries[~enough]
            if len(open_queries) == 0:
                return rows, scores
        part = _Part(open_queries, bias, mask)
        rows[open_queries], scores[open_queries] = self._search_exactly(queries[open_queries], k, part.bias, part.mask)
        return rows, scores

    def _lifted_by(self, bias: FloatArray | None) -> _Lifted:
        """The items that a bias lifts; the last answer is kept, since the bias of a day is one array."""
        if self._lifted is None or self._lifted.bias is not bias:
            self._lifted = _Lifted.of(bias, self._candidates)
        return self._lifted

    def _fetch(self, queries: FloatArray, count: int) -> tuple[IntArray, FloatArray]:
        """FAISS's own answer, [B, count], padded with -1."""
        index, parameters = self._approximate, None
        assert index is not None  # an exact search does not come here
        if isinstance(index, faiss.IndexHNSW):
            depth = max(count, index.hnsw.efSearch)
            parameters = faiss.SearchParametersHNSW(efSearch=depth)  # type: ignore[attr-defined]  # not in its stubs
        scores, rows = index.search(np.ascontiguousarray(queries), count, params=parameters)
        return rows.astype(np.int32), scores


class _Part:
    """Bias and mask of some of the queries, whether shared by all queries or one row a query."""

    def __init__(self, queries: AnyArray, bias: FloatArray | None, mask: BoolArray | None) -> None:
        self.bias = bias if bias is None or bias.ndim == 1 else bias[queries]
        self.mask = mask if mask is None or mask.ndim == 1 else mask[queries]

    def bias_at(self, rows: IntArray) -> AnyArray:
        return np.zeros(1, np.float32) if self.bias is None else _at(self.bias, rows)

    def mask_at(self, rows: IntArray) -> AnyArray:
        return np.ones(1, dtype=bool) if self.mask is None else _at(self.mask, rows)

    def scores_of(self, rows: IntArray, products: FloatArray) -> FloatArray:
        """Scores [B, n] of items [n] from their inner products; -inf outside of the mask."""
        if self.bias is not None:
            products = products + self.bias[..., rows]
        return products if self.mask is None else np.where(self.mask[..., rows], products, np.float32(-np.inf))


@dataclass(frozen=True)
class _Lifted:
    """Items whose bias is above the usual one, the median, for some query.

    Attributes:
        bias: the bias that this is about, [I] or [B, I]; None = there is none.
        usual: the median bias, [1] or [B].
        rows: ItemRows [n].
        vectors: their embeddings [n, E].
        contains: [I].
    """

    bias: FloatArray | None
    usual: FloatArray
    rows: IntArray
    vectors: FloatArray
    contains: BoolArray

    @classmethod
    def of(cls, bias: FloatArray | None, candidates: FloatArray) -> _Lifted:
        """At most half of the items for a bias that all queries share; few where it is that of new items."""
        every = np.zeros((1, len(candidates)), np.float32) if bias is None else np.atleast_2d(bias)
        middle = every.shape[1] // 2
        usual = np.partition(every, middle, axis=1)[:, middle]
        contains = np.asarray((every > usual[:, None]).any(axis=0))
        rows = np.flatnonzero(contains).astype(np.int32)
        return cls(bias, usual, rows, candidates[rows], contains)


def _at(values: AnyArray, rows: IntArray) -> AnyArray:
    """Values of [I] or [B, I] at rows [B, M]."""
    return values[rows] if values.ndim == 1 else np.take_along_axis(values, rows.astype(np.int64), axis=1)
