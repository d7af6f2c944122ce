"""Questions about the whole catalogue are bounded in number, in words and in time, and stay off the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import httpx
import pytest

from contracts.bundle import Bundle
from contracts.errors import OverloadedError, SlowBrowseError
from recommender_api.requests import ItemQuery
from serving.gateway.catalogue.browser import Browser, Deadline
from serving.gateway.catalogue.catalogue import Catalogue
from tests.fixtures.served_bundle import NOW


async def test_more_questions_than_may_wait_are_refused() -> None:
    browser, go = Browser(2, 60), threading.Event()

    def slow(number: int, deadline: Deadline) -> tuple[int, str]:
        assert go.wait(60)
        return number, threading.current_thread().name

    asked = [asyncio.create_task(browser.run(slow, number)) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="2 questions about the catalogue wait already; try again after 1 s"):
        await browser.run(slow, 2)
    go.set()
    assert await asyncio.gather(*asked) == [(0, "browse_0"), (1, "browse_0")]
    assert (await browser.run(slow, 3))[0] == 3


async def test_the_time_counts_from_the_question_and_ends_a_search(bundle: Bundle) -> None:
    catalogue = Catalogue(bundle)
    with pytest.raises(SlowBrowseError, match=r"was not searched within 0 s; ask for a category or longer words"):
        await Browser(1, 0).run(catalogue.page, ItemQuery(text="a"), NOW)
    with pytest.raises(SlowBrowseError):
        await Browser(1, 0).run(catalogue.similar, "i1", 3, NOW)
    assert (await Browser(1, 60).run(catalogue.page, ItemQuery(text="a"), NOW)).total >= 0


def test_the_clock_is_asked_before_every_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    steps = Deadline(2.0).steps(10, 4)
    assert [next(steps), next(steps)] == [0, 4]
    now = 2.0
    with pytest.raises(SlowBrowseError):
        next(steps)


async def test_titles_are_searched_in_pieces_like_at_once(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = Catalogue(bundle)
    query = ItemQuery(text="1 tit", limit=100)
    at_once = catalogue.page(query, NOW, Deadline())
    monkeypatch.setattr("serving.gateway.catalogue.catalogue._CHUNK", 3)
    assert catalogue.page(query, NOW, Deadline()) == at_once
    assert all("1" in str(item.title) for item in at_once.items)
    assert at_once.total > 0


async def test_words_are_bounded(client: httpx.AsyncClient) -> None:
    def text(count: int) -> dict[str, Any]:
        return {"text": " ".join("abcdefghij"[:count])}

    assert (await client.get("/v1/items", params=text(8))).status_code == 200
    refused = await client.get("/v1/items", params=text(9))
    assert refused.status_code == 422
    assert "text has 9 different words, at most 8 are looked for" in refused.json()["error"]["message"]
