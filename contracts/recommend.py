"""How training runs the whole pipeline without knowing serving: a protocol that `ray_apps` fills with the pipeline."""

from __future__ import annotations

from typing import Final, Protocol

from contracts.messages import PipelineResult, QueryFeatures, SeenMask

LIST_K: Final = 10
"""Items of a list that a request gets unless it says otherwise."""


class Recommend(Protocol):
    """Retrieval, seen filter, ranking and reranking for as-of features."""

    def __call__(self, queries: QueryFeatures, *, k: int, seen: SeenMask | None) -> PipelineResult:
        """Ranks.

        Args:
            queries: as-of features of B queries; `now` is each query's time.
            k: items wanted, at most; the seen filter leaves as many candidates as to a request of `LIST_K` items.
            seen: the exact seen mask, or None for no seen filter.

        Returns:
            Ranked and retrieved candidates of the B queries.
        """
        ...
