"""The protocol by which training runs the whole pipeline without importing serving; `ray_apps` implements it."""

from __future__ import annotations

from typing import Final, Protocol

from contracts.messages import PipelineResult, QueryFeatures, SeenMask

LIST_K: Final = 10
"""Default number of items in an answer."""


class Recommend(Protocol):
    """Retrieval, seen filter, ranking and reranking for point-in-time features."""

    def __call__(self, queries: QueryFeatures, *, k: int, seen: SeenMask | None) -> PipelineResult:
        """Recommends items.

        Args:
            queries: point-in-time features of B queries; `now` is the time of each query.
            k: most items of a list; after the seen filter, candidates are refilled up to min(k, `LIST_K`) items.
            seen: the exact seen mask; None = no seen filter.

        Returns:
            Ranked and retrieved candidates of the B queries.
        """
        ...
