"""Tables of the charts, worked by hand."""

from __future__ import annotations

from demo_page.charts import category_table, score_table, stage_table
from recommender_client import Explanation
from tests.unit.demo_page.items import ranked

BEFORE = ranked(("a", "toys", 0.9), ("b", "books", 0.8), ("c", "toys", 0.7))
NOW = ranked(("b", "books", 0.85), ("d", None, 0.6))
LISTS = {"before": BEFORE, "now": NOW}


def test_categories_are_counted_in_both_lists_zeros_too() -> None:
    assert category_table(LISTS) == {
        "category": ["(none)", "(none)", "books", "books", "toys", "toys"],
        "list": ["before", "now"] * 3,
        "items": [0, 1, 1, 1, 2, 0],
    }


def test_scores_by_rank_are_shares_of_the_best() -> None:
    assert score_table(LISTS) == {
        "rank": [1, 2, 3, 1, 2],
        "list": ["before"] * 3 + ["now"] * 2,
        "share of the best": [1.0, 0.8 / 0.9, 0.7 / 0.9, 0.85 / 0.9, 0.6 / 0.9],
    }


def test_stages_keep_their_order_and_answers_without_explanation_are_left_out() -> None:
    explained = Explanation(10, {}, 9, None, {"retrieval": 2.5, "ranking": 1.5})
    assert stage_table({"before": None, "now": explained}) == {
        "stage": ["retrieval", "ranking"],
        "list": ["now", "now"],
        "milliseconds": [2.5, 1.5],
    }


def test_no_lists_no_rows() -> None:
    assert category_table({}) == {"category": [], "list": [], "items": []}
