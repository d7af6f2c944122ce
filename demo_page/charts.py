"""Data of the charts: tables with columns of equal length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from recommender_client import Explanation, Recommendation

Columns = dict[str, list[str | int | float]]
_NO_CATEGORY: Final = "(none)"


def category_table(lists: Mapping[str, Sequence[Recommendation]]) -> Columns:
    """Number of items by category and list, including 0; categories in the order of their names."""
    counts = {name: Counter(item.category_l1 or _NO_CATEGORY for item in items) for name, items in lists.items()}
    categories = sorted(set().union(*counts.values()))
    rows = [(category, name, count[category]) for category in categories for name, count in counts.items()]
    return _columns(("category", "list", "items"), rows)


def relative(score: float, best: float) -> float:
    """A score as a share of the best one, 0 to 1; 0 if the best is not positive."""
    return min(max(score / best, 0.0), 1.0) if best > 0 else 0.0


def best_score(items: Iterable[object]) -> float:
    """The highest score among the recommendations; 0 if there are none."""
    return max((item.score for item in items if isinstance(item, Recommendation)), default=0.0)


def score_table(lists: Mapping[str, Sequence[Recommendation]]) -> Columns:
    """Scores by rank and list, as shares of the best score of all lists."""
    best = best_score(item for items in lists.values() for item in items)
    rows = [(item.rank, name, relative(item.score, best)) for name, items in lists.items() for item in items]
    return _columns(("rank", "list", "share of the best"), rows)


def stage_table(explanations: Mapping[str, Explanation | None]) -> Columns:
    """Milliseconds by stage and answer; stages in the order in which they ran."""
    rows = [
        (stage, name, milliseconds)
        for name, explanation in explanations.items()
        if explanation is not None
        for stage, milliseconds in explanation.stage_ms.items()
    ]
    return _columns(("stage", "list", "milliseconds"), rows)


def _columns(names: Sequence[str], rows: Sequence[tuple[str | int | float, ...]]) -> Columns:
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}
