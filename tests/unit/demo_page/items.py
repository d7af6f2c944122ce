"""Recommendations made up for the page's tests."""

from __future__ import annotations

from recommender_client import ItemExplanation, Recommendation


def ranked(*items: tuple[str, str | None, float]) -> list[Recommendation]:
    """(id, category, score) as a list, best first; retrieval had them in the same order."""
    return [
        Recommendation(
            rank,
            item_id,
            score,
            f"Title of {item_id}",
            category,
            None,
            None,
            float(rank),
            f"/v1/items/{item_id}/image",
            ItemExplanation("retrieval", rank, 0.5, {}, rank, score, 0, 1.0),
        )
        for rank, (item_id, category, score) in enumerate(items, start=1)
    ]
