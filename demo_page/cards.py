"""Items and moves as HTML. Texts of the shop are escaped."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from html import escape
from typing import Final

from demo_page.charts import relative
from demo_page.shift import Move, Product
from recommender_client import Recommendation

STYLE: Final = """<style>
.stMainBlockContainer {padding-top: 2.4rem; padding-bottom: 3rem}
.stMainBlockContainer h1 {font-size: 1.9rem; padding: 0 0 .4rem}
[data-testid=stSidebarHeader] {height: 1.6rem; margin-bottom: 0}
.card {background: #fff; border: 1px solid #e4e4f4; border-radius: 14px; overflow: hidden; position: relative;
  box-shadow: 0 1px 3px rgb(30 27 75 / 8%)}
.card .picture {aspect-ratio: 4 / 3; display: flex; align-items: center; justify-content: center; font-size: 2.4rem;
  font-weight: 700}
.card img {width: 100%; height: 100%; object-fit: cover}
.card .text {padding: .55rem .7rem .65rem}
.card .title {font-weight: 600; font-size: .86rem; line-height: 1.2rem; height: 2.4rem; overflow: hidden}
.card .facts {display: flex; justify-content: space-between; align-items: center; margin-top: .4rem; font-size: .8rem}
.card .price {font-weight: 700}
.card .attributes {margin-top: .3rem; font-size: .72rem; color: #6b6a8a; overflow-wrap: anywhere}
.card .chip, .moves .chip {border-radius: 99px; padding: .08rem .55rem; font-size: .72rem}
.card .bar {height: 4px; background: #ececf8; border-radius: 2px; margin-top: .5rem}
.card .bar div {height: 4px; border-radius: 2px; background: #4f46e5}
.card .rank, .card .change {position: absolute; top: .5rem; border-radius: 99px; padding: .05rem .55rem;
  font-size: .75rem; font-weight: 700}
.card .rank {left: .5rem; background: rgb(255 255 255 / 88%); color: #1e1b4b}
.card .change {right: .5rem}
.up {background: #dcfce7; color: #166534}
.down {background: #fee2e2; color: #991b1b}
.new {background: #4f46e5; color: #fff}
.gone, .same {background: #ececf8; color: #4b4a6b}
.moves {width: 100%; border-collapse: collapse; font-size: .86rem}
.moves th {text-align: left; color: #6b6a8a; font-weight: 600; padding: .35rem .6rem; border-bottom: 2px solid #e4e4f4}
.moves td {padding: .4rem .6rem; border-bottom: 1px solid #ececf8}
.moves .change {border-radius: 99px; padding: .08rem .55rem; font-weight: 700; font-size: .75rem; white-space: nowrap}
.moves .number {text-align: right; font-variant-numeric: tabular-nums}
</style>"""
_CLASSES: Final = {"▲": "up", "▼": "down", "n": "new", "g": "gone", "=": "same"}


def data_address(content: bytes, media_type: str) -> str:
    """A picture as a data URL, so that the browser need not reach the API."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def card(item: Product, picture: str | None, change: str | None = None, best: float = 0.0) -> str:
    """An item.

    Args:
        item: a recommendation, with its rank and a bar, or an item of the catalogue.
        picture: its URL; None = a tile in the category's colour.
        change: how it moved; None = unknown.
        best: highest score of the list, for a full bar. Scores are not probabilities, so no number is shown.
    """
    title, category = item.title or item.item_id, item.category_l1 or ""
    shown = f'<img src="{escape(picture)}" alt="">' if picture else escape(title[:1].upper())
    price = "" if item.price is None else f"{item.price:,.2f}"
    marks, bar = "", ""
    if isinstance(item, Recommendation):
        marks = f'<span class="rank">{item.rank}</span>' + (_badge(change) if change not in {None, "="} else "")
        width = 100 * relative(item.score, best)
        bar = f'<div class="bar" title="relative to the best of the list"><div style="width: {width:.1f}%"></div></div>'
    return (
        f'<div class="card" data-item="{escape(item.item_id)}">'
        f'<div class="picture" style="{_colours(category)}">{shown}</div>{marks}'
        f'<div class="text"><div class="title">{escape(title)}</div>'
        f'<div class="facts">{_chip(category)}<span class="price">{price}</span></div>'
        f"{_attributes(item)}{bar}</div></div>"
    )


def move_table(moves: Sequence[Move]) -> str:
    """Table of moves: ranks before and now, and the reason."""
    head = "".join(f"<th>{name}</th>" for name in ("move", "item", "category", "before", "now", "why"))
    return f'<table class="moves"><tr>{head}</tr>{"".join(_row(move) for move in moves)}</table>'


def _row(move: Move) -> str:
    item = move.item
    ranks = "".join(f'<td class="number">{"—" if rank is None else rank}</td>' for rank in (move.before, move.after))
    return (
        f'<tr data-item="{escape(item.item_id)}"><td>{_badge(move.change)}</td>'
        f"<td>{escape(item.title or item.item_id)}</td><td>{_chip(item.category_l1 or '')}</td>{ranks}"
        f"<td>{escape(move.why)}</td></tr>"
    )


def _attributes(item: Product) -> str:
    """The columns that the shop declares, in one line."""
    told = {name: ", ".join(value) if isinstance(value, list) else value for name, value in item.attributes.items()}
    line = " · ".join(escape(f"{name} {value}") for name, value in told.items())
    return f'<div class="attributes">{line}</div>' if line else ""


def _badge(change: str | None) -> str:
    return "" if change is None else f'<span class="change {_CLASSES[change[0]]}">{change}</span>'


def _chip(category: str) -> str:
    return f'<span class="chip" style="{_colours(category)}">{escape(category)}</span>' if category else "<span></span>"


def _colours(category: str) -> str:
    """Colours of a category, the same in all processes."""
    hue = zlib.crc32(category.encode()) % 360
    return f"background: hsl({hue} 70% 92%); color: hsl({hue} 60% 28%)"
