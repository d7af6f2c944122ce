"""HTML of cards and moves."""

from __future__ import annotations

from msgspec.structs import replace

from demo_page.cards import card, data_address, move_table
from demo_page.shift import moves
from recommender_client import Item
from tests.unit.demo_page.items import ranked

ITEM = Item("i1", "<b>Mug</b>", None, "kit&chen", None, None, 1234.5, None, None, True)


def test_what_a_shop_wrote_is_escaped() -> None:
    shown = card(ITEM, None)
    assert "&lt;b&gt;Mug&lt;/b&gt;" in shown
    assert "kit&amp;chen" in shown
    assert "<b>" not in shown


def test_columns_that_the_shop_declares_are_in_one_line() -> None:
    shown = card(replace(ITEM, attributes={"brand": "A&B", "tags": ["new", "sale"], "litres": 0.5}), None)
    assert '<div class="attributes">brand A&amp;B · tags new, sale · litres 0.5</div>' in shown
    assert 'class="attributes"' not in card(ITEM, None)


def test_a_catalogue_card_has_price_and_neither_rank_nor_score() -> None:
    shown = card(ITEM, None)
    assert "1,234.50" in shown
    assert 'class="rank"' not in shown
    assert 'class="bar"' not in shown


def test_a_recommended_card_has_picture_rank_bar_and_move_and_no_number_that_looks_like_a_probability() -> None:
    (item,) = ranked(("a", "toys", 0.2))
    shown = card(item, data_address(b"\x00\x01", "image/png"), "▲ 3", best=0.8)
    assert '<img src="data:image/png;base64,AAE=" alt="">' in shown
    assert '<span class="rank">1</span>' in shown
    assert "width: 25.0%" in shown
    assert "score" not in shown
    assert "0.2" not in shown
    assert '<span class="change up">▲ 3</span>' in shown


def test_bars_are_relative_to_the_best_whatever_scores_are() -> None:
    for score, best, width in ((0.98, 0.98, "100.0"), (0.49, 0.98, "50.0"), (0.0, 0.0, "0.0"), (-1.0, 2.0, "0.0")):
        (item,) = ranked(("a", "toys", score))
        assert f"width: {width}%" in card(item, None, None, best)


def test_what_did_not_move_has_no_badge() -> None:
    (item,) = ranked(("a", "toys", 0.25))
    assert 'class="change' not in card(item, None, "=")
    assert card(item, None, "=") == card(item, None)


def test_an_item_without_title_shows_its_id_and_without_price_none() -> None:
    bare = Item("i7", None, None, None, None, None, None, None, None, True)
    assert '<div class="title">i7</div>' in card(bare, None)
    assert '<span class="price"></span>' in card(bare, None)


def test_a_category_has_one_colour() -> None:
    first, second = ranked(("a", "toys", 0.9), ("b", "toys", 0.8))
    colours = {shown.split('style="')[1].split('"')[0] for shown in (card(first, None), card(second, None))}
    assert len(colours) == 1


def test_moves_are_rows_with_ranks_and_reasons() -> None:
    before, after = ranked(("a", "toys", 0.9), ("b", None, 0.8)), ranked(("b", None, 0.9), ("c", None, 0.5))
    table = move_table(moves(before, after, 2, before[0]))
    rows = table.split("<tr")[2:]
    assert [row.split('data-item="')[1][0] for row in rows] == ["b", "c", "a"]
    assert '<span class="change up">▲ 1</span>' in rows[0]
    assert '<td class="number">—</td><td class="number">2</td>' in rows[1]
    assert "seen now: the filter hides it" in rows[2]
