"""What moved: worked by hand on lists of five items, of which three are shown."""

from __future__ import annotations

import pytest

from demo_page.shift import Move, moves
from recommender_client import Recommendation
from tests.unit.demo_page.items import ranked

BEFORE = ranked(("a", "books", 0.9), ("b", "toys", 0.8), ("c", "books", 0.7), ("d", "toys", 0.6), ("e", None, 0.5))
AFTER = ranked(("d", "toys", 0.95), ("b", "toys", 0.85), ("f", "toys", 0.75), ("c", "books", 0.65), ("e", None, 0.5))
PICKED = BEFORE[0]


def of(moved: list[Move], item_id: str) -> Move:
    (move,) = [move for move in moved if move.item.item_id == item_id]
    return move


def facts(move: Move) -> tuple[int | None, int | None, str]:
    return move.before, move.after, move.change


def test_shown_items_come_first_then_those_that_left() -> None:
    assert [move.item.item_id for move in moves(BEFORE, AFTER, 3, PICKED)] == ["d", "b", "f", "a", "c"]


@pytest.mark.parametrize(
    ("item_id", "expected"),
    [
        ("d", (4, 1, "▲ 3")),
        ("b", (2, 2, "=")),
        ("f", (None, 3, "new")),
        ("a", (1, None, "gone")),
        ("c", (3, 4, "▼ 1")),
    ],
)
def test_ranks_and_changes(item_id: str, expected: tuple[int | None, int | None, str]) -> None:
    assert facts(of(moves(BEFORE, AFTER, 3, PICKED), item_id)) == expected


@pytest.mark.parametrize(
    ("item_id", "why"),
    [
        ("d", "scored higher · retrieval 4 → 1"),
        ("b", "scored higher"),
        ("f", "was not among the first 5"),
        ("a", "seen now: the filter hides it"),
        ("c", "scored lower · retrieval 3 → 4 · books, like your pick"),
    ],
)
def test_reasons(item_id: str, why: str) -> None:
    assert of(moves(BEFORE, AFTER, 3, PICKED), item_id).why == why


def test_an_item_that_went_unpicked_is_not_called_seen() -> None:
    assert of(moves(BEFORE, AFTER, 3, None), "a").why == "no longer among the first 5"


def test_items_without_explanation_or_category_have_their_scores_only() -> None:
    def plain(items: list[Recommendation]) -> list[Recommendation]:
        return [Recommendation(i.rank, i.item_id, i.score, None, None, None, None, None, None) for i in items]

    picked = plain(BEFORE)[0]
    assert of(moves(plain(BEFORE), plain(AFTER), 3, picked), "d").why == "scored higher"


def test_equal_answers_have_no_change() -> None:
    assert [move.change for move in moves(BEFORE, BEFORE, 5, None)] == ["="] * 5
