"""The page: the visitor on the left; recommendations, moves, catalogue and figures in tabs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import streamlit as st
from msgspec.structs import replace

from demo_page import cards
from demo_page.charts import best_score, category_table, score_table, stage_table
from demo_page.memory import Memory
from demo_page.shift import Move, Product, moves
from demo_page.visit import KINDS, WEEKDAYS, Visit, Visitor
from recommender_client import (
    ApiError,
    BadAnswerError,
    Client,
    ForbiddenError,
    Item,
    ItemQuery,
    NoConnectionError,
    NotFoundError,
    RecommendationResponse,
    Status,
    UnauthenticatedError,
    UnavailableError,
)

_DEVICES: Final = ("mobile", "desktop", "tablet")
_CARDS_IN_A_ROW: Final = 5
_PAGE: Final = 20
_SAMPLED_PAGES: Final = 5
"""Pages of 100 items from which categories are offered; others can be typed in."""
_ALL: Final = "All"


def show_page(client: Client, api: str, users: Sequence[str]) -> None:
    """Shows the page.

    Args:
        client: of the API.
        api: its address, for messages.
        users: known users to choose from.
    """
    st.set_page_config(page_title="Recommender", layout="wide")
    st.html(cards.STYLE)
    memory: Memory = st.session_state.setdefault("memory", Memory())
    try:
        status = client.status()
        visit, k = _sidebar(client, memory, status, users)
        memory.refresh(client, visit, status)
        _body(client, memory, status.bundle.version, visit, k)
    except ApiError as error:
        st.error(problem(error, api), icon=":material/cloud_off:")
        st.button("Try again", key="again")


def problem(error: ApiError, api: str) -> str:
    """An error of the API and its remedy, in words."""
    match error:
        case NoConnectionError():
            return f"The API at {api} does not answer. Start it with `make demo` or `make serve`, then try again."
        case UnauthenticatedError() | ForbiddenError():
            return f"The API at {api} refuses this page: {error} Give it a key in `RECOMMENDER_API_KEY`."
        case BadAnswerError():
            return f"What answers at {api} is not the API that this page knows: {error}"
        case UnavailableError():
            return f"The API at {api} is there and cannot answer now: {error}"
        case _:
            return f"The API at {api} refused: {error}"


def _sidebar(client: Client, memory: Memory, status: Status, users: Sequence[str]) -> tuple[Visit, int]:
    """Shows the sidebar; returns the visit and the number of items to show."""
    with st.sidebar:
        st.subheader("Visitor")
        kind = st.radio("Who", KINDS, horizontal=False, label_visibility="collapsed", key="kind")
        if kind == "Known user":
            known = users or ("u1",)
            name = st.selectbox("User id", known, accept_new_options=True, key="user") or known[0]
        else:
            name = f"{'session' if kind == 'Anonymous' else 'new'}-{memory.token}"
            st.caption(f"`{name}`")
        now = datetime.fromtimestamp(status.now, ZoneInfo(status.bundle.timezone))
        st.session_state.setdefault("weekday", WEEKDAYS[now.weekday()])
        st.session_state.setdefault("hour", now.hour)
        device = st.selectbox("Device", _DEVICES, key="device")
        weekday = st.selectbox("Weekday", WEEKDAYS, key="weekday")
        hour = st.slider("Hour", 0, 23, key="hour")
        k = st.slider("Items shown", 5, 50, 10, step=5, key="k")
        visit = Visit(Visitor(kind, name), device, WEEKDAYS.index(weekday), hour)
        explained = "seen items forgotten" if kind == "Known user" else "somebody new"
        st.button(f"Reset ({explained})", key="reset", width="stretch", on_click=memory.reset, args=(client, visit))
        if visit.visitor.user_id is not None and st.toggle("What the stores know", key="stores"):
            _show_stores(client, visit.visitor.user_id)
        st.divider()
        st.caption(f"{status.bundle.shop} · bundle {status.bundle.version} · {status.placement}")
    return visit, k


def _show_stores(client: Client, user_id: str) -> None:
    try:
        data = client.user_data(user_id)
    except ApiError as error:
        st.caption(f"The API does not tell: {error}")
        return
    facts = {
        "known to the feature store": "yes" if data.known else "no",
        "age": "—" if data.age is None else f"{data.age:.0f}",
        "gender": data.gender or "—",
        "top category, 24 hours": data.top_category or "—",
        "top category, earlier days": data.top_category_long or "—",
        "recent items": str(len(data.recent_items)),
        "in the seen filter": str(sum(day.num_items for day in data.seen)),
    }
    st.table({"": list(facts), " ": list(facts.values())}, border="horizontal", hide_index=True)


def _body(client: Client, memory: Memory, version: str, visit: Visit, k: int) -> None:
    answer = memory.now
    if answer is None:  # refresh has set it or raised
        return
    st.title("Recommended for " + visit.visitor.name)
    with st.container():  # one container, whatever it holds, so that the open tab below stays open
        _tell(memory, answer)
    before = memory.before.recommendations if memory.before else None
    moved = moves(before, answer.recommendations, k, memory.picked) if before is not None else []
    shown, shift, catalogue, figures = st.tabs(["Recommendations", "What moved", "Catalogue", "Figures"])
    with shown:
        changes = {move.item.item_id: move.change for move in moved}
        press = _press(client, memory, visit, answer.request_id)
        _grid(client, version, answer.recommendations[:k], press, "rec", changes)
    with shift:
        _show_shift(memory, moved, k)
    with catalogue:
        _catalogue(client, version, _press(client, memory, visit, None))
    with figures:
        _figures(memory.before, answer, k)


def _tell(memory: Memory, answer: RecommendationResponse) -> None:
    """Shows notice, trouble and degraded parts."""
    if memory.trouble:
        st.warning(memory.trouble, icon=":material/warning:")
    if memory.notice and memory.before is not None:
        took = (
            "" if memory.reflected_ms is None else f" — recorded and in this answer after {memory.reflected_ms:.0f} ms"
        )
        st.success(memory.notice + took, icon=":material/bolt:")
    if answer.degraded:
        st.warning("Replaced or left out in this answer: " + ", ".join(answer.degraded))


def _press(client: Client, memory: Memory, visit: Visit, request_id: str | None) -> Callable[[Product], None]:
    """The callback of an "Interested" button."""
    return lambda item: memory.interested(client, visit, item, request_id)


def _grid(
    client: Client,
    version: str,
    items: Sequence[Product],
    press: Callable[[Product], None],
    where: str,
    changes: dict[str, str] | None = None,
) -> None:
    """Shows cards with buttons; pictures are cached for each bundle version."""
    best = best_score(items)
    for start in range(0, len(items), _CARDS_IN_A_ROW):
        row = items[start : start + _CARDS_IN_A_ROW]
        for column, item in zip(st.columns(_CARDS_IN_A_ROW), row, strict=False):
            with column:
                picture = _picture(client, version, item.item_id) if item.image_url else None
                st.html(cards.card(item, picture, (changes or {}).get(item.item_id), best))
                key = f"{where}-{item.item_id}"
                st.button("Interested", key=key, width="stretch", on_click=press, args=(item,))


@st.cache_data(max_entries=2_000, show_spinner=False)
def _picture(_client: Client, bundle_version: str, item_id: str) -> str | None:
    try:
        return cards.data_address(*_client.picture(item_id))
    except NotFoundError:
        return None


def _show_shift(memory: Memory, moved: Sequence[Move], k: int) -> None:
    if memory.before is None:
        st.info("Press Interested on an item, or change device or time: this tab shows what moved and why.")
        return
    arrived = sum(1 for move in moved if move.after is not None and move.after <= k and (move.before or k + 1) > k)
    climbed = sum(1 for move in moved if move.change.startswith("▲"))
    stayed = sum(1 for move in moved if move.change == "=")
    for column, (label, value) in zip(
        st.columns(3), (("came in", arrived), ("climbed", climbed), ("stayed in place", stayed)), strict=True
    ):
        column.metric(label, value)
    st.html(cards.move_table(moved))


def _catalogue(client: Client, version: str, press: Callable[[Product], None]) -> None:
    tree = _categories(client, version)
    search, one, two, low, high, three = st.columns([3, 2, 2, 1, 1, 1])
    text = search.text_input("Title", placeholder="Words of the title", key="text")
    first = one.selectbox("Category", [_ALL, *tree], accept_new_options=True, key="category_l1")
    finer = sorted(set().union(*tree.values())) if first == _ALL else tree.get(first or "", [])
    second = two.selectbox("Finer category", [_ALL, *finer], accept_new_options=True, key="category_l2")
    wanted = ItemQuery(
        limit=_PAGE,
        category_l1=_chosen(first),
        category_l2=_chosen(second),
        text=(text or "").strip() or None,
        min_price=low.number_input("From", min_value=0.0, value=None, placeholder="price", key="min_price"),
        max_price=high.number_input("To", min_value=0.0, value=None, placeholder="price", key="max_price"),
    )
    number = three.number_input("Page", min_value=1, value=1, key=f"page {wanted}")
    page = client.items(replace(wanted, offset=_PAGE * (int(number) - 1)))
    items = "item" if page.total == 1 else "items"
    st.caption(f"{page.total:,} {items}, page {int(number)} of {max(1, -(-page.total // _PAGE))}")
    _grid(client, version, page.items, press, "item")


def _chosen(category: str | None) -> str | None:
    return None if category == _ALL else category or None


@st.cache_data(max_entries=8, ttl="10m", show_spinner=False)
def _categories(_client: Client, bundle_version: str) -> dict[str, list[str]]:
    """Finer categories by category, from the first pages of the catalogue."""
    found: dict[str, set[str]] = {}
    for page in range(_SAMPLED_PAGES):
        items: list[Item] = _client.items(ItemQuery(limit=100, offset=100 * page)).items
        for item in items:
            if item.category_l1 is not None:
                finer = found.setdefault(item.category_l1, set())
                finer |= set() if item.category_l2 is None else {item.category_l2}
    return {category: sorted(finer) for category, finer in sorted(found.items())}


def _figures(before: RecommendationResponse | None, now: RecommendationResponse, k: int) -> None:
    answers = {"now": now} if before is None else {"before": before, "now": now}
    lists = {name: answer.recommendations[:k] for name, answer in answers.items()}
    left, right = st.columns(2)
    with left:
        st.subheader("Categories")
        st.bar_chart(category_table(lists), x="category", y="items", color="list", stack=False, horizontal=True)
    with right:
        st.subheader("Scores by rank, relative to the best")
        st.line_chart(score_table(lists), x="rank", y="share of the best", color="list")
    st.subheader("Milliseconds by stage")
    stages = stage_table({name: answer.explanation for name, answer in answers.items()})
    st.bar_chart(stages, x="stage", y="milliseconds", color="list", stack=False)
    if (told := now.explanation) is not None:
        removed = sum(told.removed.values())
        st.caption(f"{told.num_retrieved} retrieved, {removed} removed by filters, {told.num_ranked} ranked")
