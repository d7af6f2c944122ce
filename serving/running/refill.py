"""Refills lists that the seen filter leaves too short: retrieves again without what it removed, for them alone.

The store cannot list what a subject has seen, it only answers whether a subject saw an item (Bloom filters). So each
round of retrieval excludes what the filter has removed so far, until the lists are long enough or nothing more is
removed. The result is the same as if retrieval had known the seen items.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np

from contracts.ids import AnyArray, IntArray, LongArray
from contracts.messages import Candidates, FilterResult, QueryFeatures
from contracts.options import ItemFilters, Ragged
from contracts.top_k import sort_keys
from serving.running.calls import Stage


@dataclass(frozen=True)
class Lists:
    """Filtered and scored candidates of a batch.

    Attributes:
        filtered: the retrieved candidates [T] and which of them the seen filter kept.
        scored: the same candidates with the ranker's scores.
    """

    filtered: FilterResult
    scored: Candidates

    @property
    def ranked(self) -> Candidates:
        """The kept candidates with the ranker's scores."""
        return self.scored.where(self.filtered.keep)

    def too_short(self, min_kept: IntArray) -> LongArray:
        """Requests [n], ascending, for which the filter removed some and kept fewer than `min_kept` [B]."""
        if self.filtered.keep.all():
            return np.zeros(0, dtype=np.int64)
        kept, retrieved = self.filtered.kept.lengths, self.scored.lengths
        return np.flatnonzero((kept < min_kept) & (kept < retrieved))

    def unchanged(self) -> Lists:
        """These lists: the fallback when the refill fails."""
        return self

    def with_part(self, requests: LongArray, part: Lists) -> Lists:
        """Replaces the lists of requests [n] by those of `part`, a batch of n."""
        owners, others = self.scored.owners, ~np.isin(self.scored.owners, requests)
        every = np.concatenate([owners[others], requests[part.scored.owners]])
        order = np.argsort(every, kind="stable")
        lengths = np.bincount(every, minlength=len(self.scored)).astype(np.int32)

        def merged(mine: AnyArray, theirs: AnyArray) -> AnyArray:
            return np.concatenate([mine[others], theirs])[order]

        rows = merged(self.scored.rows, part.scored.rows)
        version = self.scored.bundle_version
        pairs = ((self.filtered.candidates, part.filtered.candidates), (self.scored, part.scored))
        retrieved, scored = (
            Candidates(version, rows, merged(mine.scores, theirs.scores), lengths) for mine, theirs in pairs
        )
        keep = merged(self.filtered.keep, part.filtered.keep)
        return Lists(FilterResult(retrieved, keep, self.filtered.reason), scored)


@dataclass(frozen=True)
class Refill:
    """Refills the lists of some requests; called like a stage.

    Attributes:
        retrieval: retrieval of n queries.
        filter_seen: the seen filter of the whole batch of B.
        ranking: scores what retrieval found.
        queries: of the batch.
        filters: of the batch.
        min_kept: candidates that the filter should keep at least, for each request [B].
        requests: those with lists that are too short [n], ascending.
    """

    retrieval: Stage[QueryFeatures, ItemFilters | None, Ragged | None, Candidates]
    filter_seen: Stage[Candidates, FilterResult]
    ranking: Stage[QueryFeatures, Candidates, Candidates]
    queries: QueryFeatures
    filters: ItemFilters | None
    min_kept: IntArray
    requests: LongArray

    async def __call__(self, lists: Lists, *, timeout_s: float) -> Lists:
        """The lists of the batch, refilled in as many rounds as needed.

        Raises:
            TimeoutError: it takes longer than `timeout_s`.
        """
        async with asyncio.timeout(timeout_s):
            some = self.queries.take(self.requests)
            found = await self._rounds(lists.filtered, some, timeout_s)
            scored = await self.ranking(some, found.candidates, timeout_s=timeout_s)
        return lists.with_part(self.requests, Lists(found, scored))

    async def _rounds(self, filtered: FilterResult, some: QueryFeatures, timeout_s: float) -> FilterResult:
        """The lists [n]: all that was removed and what the last round kept, best first."""
        size, requests = len(filtered.candidates), self.requests
        removed = _lists(filtered.removed, requests)
        while True:
            filters = _excluding(removed, requests, self.filters)
            found = await self.retrieval(some, filters, None, timeout_s=timeout_s)
            verdict = await self.filter_seen(_spread(found, requests, size), timeout_s=timeout_s)
            seen = _lists(verdict.removed, requests)
            removed = _joined(removed, seen)
            kept = _lists(verdict.kept, requests)
            if not ((kept.lengths < self.min_kept[requests]) & (seen.lengths > 0)).any():
                return _verdict(kept, removed, filtered.reason)


def _lists(candidates: Candidates, requests: LongArray) -> Candidates:
    """The lists of some requests, ascending, as a batch of their own."""
    mask = np.isin(candidates.owners, requests)
    lengths = candidates.lengths[requests]
    return Candidates(candidates.bundle_version, candidates.rows[mask], candidates.scores[mask], lengths)


def _spread(candidates: Candidates, requests: LongArray, size: int) -> Candidates:
    """The lists of some requests at their places in a batch of `size`, the others empty."""
    lengths = np.zeros(size, dtype=np.int32)
    lengths[requests] = candidates.lengths
    return Candidates(candidates.bundle_version, candidates.rows, candidates.scores, lengths)


def _joined(first: Candidates, second: Candidates) -> Candidates:
    """Both lists of each request, best first."""
    owners = np.concatenate([first.owners, second.owners])
    rows, scores = np.concatenate([first.rows, second.rows]), np.concatenate([first.scores, second.scores])
    order = np.lexsort((-sort_keys(scores, rows), owners))
    return Candidates(first.bundle_version, rows[order], scores[order], first.lengths + second.lengths)


def _verdict(kept: Candidates, removed: Candidates, reason: str) -> FilterResult:
    every = _joined(kept, removed)
    span = int(every.rows.max(initial=0)) + 1
    return FilterResult(every, np.isin(every.owners * span + every.rows, kept.owners * span + kept.rows), reason)


def _excluding(removed: Candidates, requests: LongArray, filters: ItemFilters | None) -> ItemFilters:
    """The filters of requests [n] for a batch of n, with the removed items excluded, too."""
    places = {} if filters is None else {int(request): f for f, request in enumerate(filters.requests)}
    size = len(requests)
    ranges = {column: np.tile([-np.inf, np.inf], (size, 1)) for column in (filters.ranges if filters else ())}
    excluded = np.split(removed.rows, removed.offsets[1:-1])
    codes = {column: [np.zeros(0, np.int32)] * size for column in (filters.codes if filters else ())}
    for place, request in enumerate(requests.tolist()):
        if filters is not None and request in places:
            at = places[request]
            excluded[place] = np.concatenate([excluded[place], _list(filters.excluded, at)])
            for column, bounds in filters.ranges.items():
                ranges[column][place] = bounds[at]
            for column, lists in filters.codes.items():
                codes[column][place] = _list(lists, at)
    return ItemFilters(
        np.arange(size, dtype=np.int32),
        Ragged.of(excluded),
        {column: Ragged.of(lists) for column, lists in codes.items()},
        ranges,
    )


def _list(lists: Ragged, place: int) -> IntArray:
    return np.asarray(lists.values[lists.owners == place])
