"""Moves of items between two answers, and their reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recommender_client import Item, Recommendation

Product = Item | Recommendation


@dataclass(frozen=True)
class Move:
    """The move of an item that is or was among the first k.

    Attributes:
        item: from the newest answer that has it.
        before: its previous rank; None = it was not in the answer.
        after: its present rank; None = it is not in the answer.
        change: the move in a word.
        why: the reason in words.
    """

    item: Recommendation
    before: int | None
    after: int | None
    change: str
    why: str


def moves(
    before: Sequence[Recommendation], after: Sequence[Recommendation], k: int, picked: Product | None
) -> list[Move]:
    """Moves of all items of the two shown lists: first the present items in order, then those that left.

    Args:
        before: the previous answer, longer than the shown list.
        after: the present answer.
        k: number of shown items.
        picked: the item in which the visitor was interested between the two; None = something else happened.
    """
    old = {item.item_id: item for item in before}
    new = {item.item_id: item for item in after}
    shown = {item.item_id: item for item in after[:k]}
    left = {item.item_id: item for item in before[:k] if item.item_id not in shown}
    return [
        _move(item, old.get(name), new.get(name), (len(before), len(after)), picked)
        for name, item in (shown | left).items()
    ]


def _move(
    item: Recommendation,
    old: Recommendation | None,
    new: Recommendation | None,
    lengths: tuple[int, int],
    picked: Product | None,
) -> Move:
    before, after = old.rank if old else None, new.rank if new else None
    return Move(new or item, before, after, _change(before, after), _why(item, old, new, lengths, picked))


def _change(before: int | None, after: int | None) -> str:
    if after is None:
        return "gone"
    if before is None:
        return "new"
    if before == after:
        return "="
    return f"▲ {before - after}" if before > after else f"▼ {after - before}"


def _why(
    item: Recommendation,
    old: Recommendation | None,
    new: Recommendation | None,
    lengths: tuple[int, int],
    picked: Product | None,
) -> str:
    if new is None:
        if picked is not None and item.item_id == picked.item_id:
            return "seen now: the filter hides it"
        return f"no longer among the first {lengths[1]}"
    reasons = []
    if old is None:
        reasons.append(f"was not among the first {lengths[0]}")
    else:
        if new.score != old.score:
            reasons.append("scored higher" if new.score > old.score else "scored lower")
        places = [one.explanation.retrieval_rank for one in (old, new) if one.explanation is not None]
        if len(set(places)) == 2:
            reasons.append(f"retrieval {places[0]} → {places[1]}")
    if picked is not None and new.category_l1 is not None and new.category_l1 == picked.category_l1:
        reasons.append(f"{new.category_l1}, like your pick")
    return " · ".join(reasons)
