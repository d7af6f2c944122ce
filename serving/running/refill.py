"""Lists that the seen filter leaves too short: retrieval goes again, for these requests alone, without what was seen.

What a request has seen is known only as answers about given items (Bloom filters), so retrieval leaves out what the
filter removed, and is asked again while the filter still takes away too many. With each round candidates move on down
the scores: the outcome is that of a retrieval that had known the seen items, cut where the list is long enough.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from contracts.features import ITEM_CATEGORICALS
from contracts.ids import AnyArray, BoolArray, IntArray, LongArray
from contracts.messages import Candidates, FilterResult, QueryFeatures
from contracts.options import Constraints, Ragged
from contracts.top_k import sort_keys

Retrieve = Callable[[QueryFeatures, Constraints], Awaitable[Candidates]]
FilterBatch = Callable[[Candidates], Awaitable[FilterResult]]


def too_short(filtered: FilterResult, enough: IntArray) -> LongArray:
    """Requests [n], ascending, that the filter left with fewer candidates than `enough` [B]."""
    if filtered.keep.all():
        return np.zeros(0, dtype=np.int64)
    kept, came = filtered.kept.lengths, filtered.candidates.lengths
    return np.flatnonzero((kept < enough) & (kept < came))


async def refill(
    filtered: FilterResult,
    requests: LongArray,
    enough: IntArray,
    queries: QueryFeatures,
    constraints: Constraints | None,
    retrieve: Retrieve,
    filter_batch: FilterBatch,
) -> FilterResult:
    """Candidates of some requests, kept and removed, after as many rounds as they need.

    Args:
        filtered: the batch's first round.
        requests: `too_short` ones [n].
        enough: candidates that a request should be left with [B].
        queries: of the batch.
        constraints: of the batch.
        retrieve: retrieval of n queries.
        filter_batch: the seen filter for candidates of the whole batch of B.

    Returns:
        n lists: everything that was removed and what the last round kept, best first.
    """
    size, some = len(filtered.candidates), queries.take(requests)
    removed = _lists(filtered.removed, requests)
    while True:
        found = await retrieve(some, _without(removed, requests, constraints))
        verdict = await filter_batch(_spread(found, requests, size))
        seen = _lists(verdict.removed, requests)
        removed = _joined(removed, seen)
        kept = _lists(verdict.kept, requests)
        if not ((kept.lengths < enough[requests]) & (seen.lengths > 0)).any():
            break
    return _verdict(kept, removed, filtered.reason)


@dataclass(frozen=True)
class Lists:
    """What the stages made of a batch: T candidates, the same in all three.

    Attributes:
        retrieved: with retrieval scores.
        scored: with the ranker's.
        keep: whether the seen filter left them [T].
    """

    retrieved: Candidates
    scored: Candidates
    keep: BoolArray

    def with_part(self, requests: LongArray, part: Lists) -> Lists:
        """The lists of some requests [n] replaced by those of `part`, a batch of n."""
        owners, others = self.retrieved.owners, ~np.isin(self.retrieved.owners, requests)
        every = np.concatenate([owners[others], requests[part.retrieved.owners]])
        order = np.argsort(every, kind="stable")
        lengths = np.bincount(every, minlength=len(self.retrieved)).astype(np.int32)

        def merged(mine: AnyArray, theirs: AnyArray) -> AnyArray:
            return np.concatenate([mine[others], theirs])[order]

        rows = merged(self.retrieved.rows, part.retrieved.rows)
        version = self.retrieved.bundle_version
        retrieved, scored = (
            Candidates(version, rows, merged(mine.scores, theirs.scores), lengths)
            for mine, theirs in ((self.retrieved, part.retrieved), (self.scored, part.scored))
        )
        return Lists(retrieved, scored, merged(self.keep, part.keep))


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


def _without(removed: Candidates, requests: LongArray, constraints: Constraints | None) -> Constraints:
    """The limits of some requests [n] as those of a batch of n, with more items excluded."""
    places = {} if constraints is None else {int(request): f for f, request in enumerate(constraints.requests)}
    size = len(requests)
    prices = np.tile([-np.inf, np.inf], (size, 1))
    excluded = np.split(removed.rows, removed.offsets[1:-1])
    codes: list[list[IntArray]] = [[np.zeros(0, np.int32)] * size for _ in ITEM_CATEGORICALS]
    for place, request in enumerate(requests.tolist()):
        if constraints is not None and request in places:
            limit = places[request]
            prices[place] = constraints.prices[limit]
            excluded[place] = np.concatenate([excluded[place], _list(constraints.excluded, limit)])
            for column, lists in zip(codes, constraints.codes, strict=True):
                column[place] = _list(lists, limit)
    return Constraints(
        np.arange(size, dtype=np.int32), Ragged.of(excluded), tuple(Ragged.of(column) for column in codes), prices
    )


def _list(lists: Ragged, place: int) -> IntArray:
    return np.asarray(lists.values[lists.owners == place])
