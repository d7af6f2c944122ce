"""The page as Streamlit builds it, without a browser; the API is made up at the edge of HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from demo_page.page import problem
from recommender_client import UnavailableError
from tests.unit.demo_page.fake_api import FakeApi

TIMEOUT_S = 60


@pytest.fixture
def api() -> Iterator[FakeApi]:
    st.cache_data.clear()
    yield FakeApi()
    st.cache_data.clear()


def script(client: object) -> None:  # Streamlit runs these lines alone: no name from above is known to them
    from demo_page.page import show_page

    show_page(client, "http://shop", ("u1", "u2"))


@pytest.fixture
def page(api: FakeApi) -> AppTest:
    opened = AppTest.from_function(script, kwargs={"client": api.client()}, default_timeout=TIMEOUT_S)
    return looked(opened.run())


def looked(page: AppTest) -> AppTest:
    assert [one.message for one in page.exception] == []
    return page


def bodies(page: AppTest) -> str:
    return "".join(element.proto.body for element in page.get("html"))


def shown(page: AppTest) -> list[str]:
    """Ids of recommended cards: those with a rank."""
    return re.findall(r'data-item="(\w+)">(?:(?!data-item).)*?class="rank"', bodies(page))


def moved(page: AppTest) -> dict[str, str]:
    return dict(re.findall(r'<tr data-item="(\w+)"><td><span class="change \w+">([^<]+)<', bodies(page)))


def press(page: AppTest, key: str) -> AppTest:
    return looked(page.button(key=key).click().run())


def test_it_shows_recommendations_and_catalogue(page: AppTest, api: FakeApi) -> None:
    assert shown(page) == [f"i{number}" for number in range(10)]
    assert bodies(page).count('class="card"') == 10 + 20
    assert "data:image/png;base64" in bodies(page)
    (asked,) = api.requests
    assert (asked["user_id"], asked["device_type"], asked["k"], asked["explain"]) == ("u1", "mobile", 100, True)
    assert api.budgets_ms == ["2000"]  # a person waits longer than a shop


def test_interest_is_told_and_moves_the_next_answer(page: AppTest, api: FakeApi) -> None:
    press(page, "rec-i1")
    (event,) = api.events
    assert (event["item_id"], event["event"], event["user_id"], event["request_id"]) == ("i1", "click", "u1", "r1")
    assert shown(page)[:3] == ["i4", "i7", "i10"]
    assert moved(page) | {"i4": "▲ 4", "i7": "▲ 6", "i10": "▲ 8", "i1": "gone"} == moved(page)
    (told,) = page.success
    assert told.value.startswith("Interested in “Item 1” — recorded and in this answer after ")


def test_interest_from_the_catalogue_answers_no_recommendation(page: AppTest, api: FakeApi) -> None:
    press(page, "item-i17")
    (event,) = api.events
    assert event["item_id"] == "i17"
    assert "request_id" not in event
    assert shown(page)[0] == "i2"


def test_the_catalogue_is_filtered_and_turned(page: AppTest) -> None:
    looked(page.selectbox(key="category_l1").select("toys").run())
    keys = [button.key for button in page.button if button.key.startswith("item-")]
    assert keys == [f"item-i{number}" for number in range(2, 30, 3)]
    looked(page.selectbox(key="category_l1").select("All").run())
    looked(page.number_input[2].set_value(2).run())
    assert next(button.key for button in page.button if button.key.startswith("item-")) == "item-i20"


def test_the_catalogue_is_searched_by_title_and_price(page: AppTest) -> None:
    looked(page.number_input[2].set_value(2).run())  # the second page of everything

    def found() -> list[str]:
        return [button.key for button in page.button if button.key.startswith("item-")]

    looked(page.text_input(key="text").set_value(" item 2 ").run())
    assert found() == ["item-i2", *(f"item-i{number}" for number in range(20, 30))]
    looked(page.number_input(key="min_price").set_value(21.0).run())
    looked(page.number_input(key="max_price").set_value(23.0).run())
    assert found() == ["item-i21", "item-i22", "item-i23"]
    looked(page.text_input(key="text").set_value("").run())
    looked(page.number_input(key="min_price").set_value(None).run())
    assert len(found()) == 20


def test_another_scene_asks_again_and_is_compared(page: AppTest, api: FakeApi) -> None:
    looked(page.selectbox(key="device").select("tablet").run())
    assert [asked["device_type"] for asked in api.requests] == ["mobile", "tablet"]
    assert page.success[0].value == "Now: tablet, Wednesday 14:00"
    assert set(moved(page).values()) == {"="}


def test_more_items_are_shown_without_asking_again(page: AppTest, api: FakeApi) -> None:
    looked(page.slider(key="k").set_value(25).run())
    assert len(shown(page)) == 25
    assert len(api.requests) == 1


def test_reset_of_a_known_user_forgets_what_was_seen(page: AppTest, api: FakeApi) -> None:
    press(page, "rec-i1")
    assert "i1" not in shown(page)
    press(page, "reset")
    assert api.flushed == ["u1"]
    assert shown(page)[:2] == ["i1", "i4"]
    assert "are forgotten" in page.success[0].value


@pytest.mark.parametrize(("kind", "field"), [("New user", "user_id"), ("Anonymous", "session_id")])
def test_reset_of_somebody_new_is_somebody_else(page: AppTest, api: FakeApi, kind: str, field: str) -> None:
    looked(page.radio(key="kind").set_value(kind).run())
    press(page, "rec-i1")
    assert shown(page)[0] == "i4"
    press(page, "reset")
    assert shown(page) == [f"i{number}" for number in range(10)]
    assert (api.flushed, len(page.success)) == ([], 0)
    names = [asked.get(field) for asked in api.requests[1:]]
    assert names[0] == names[1] != names[2]


def test_a_server_that_is_down_is_told_and_tried_again(page: AppTest, api: FakeApi) -> None:
    api.down = True
    looked(page.run())
    (told,) = page.error
    assert told.value.startswith("The API at http://shop does not answer. Start it with `make demo`")
    assert shown(page) == []
    api.down = False
    press(page, "again")
    assert len(page.error) == 0
    assert len(shown(page)) == 10


def test_a_server_without_interactions_is_told(page: AppTest, api: FakeApi) -> None:
    api.refuse("/v1/interactions", 404, "not_found", "no path '/v1/interactions'")
    press(page, "rec-i1")
    assert page.warning[0].value.startswith("This server takes no interactions, it is older than this page")
    assert "i1" in shown(page)


def test_what_the_stores_know_may_be_refused(page: AppTest, api: FakeApi) -> None:
    api.refuse("/v1/users/u1/data", 403, "forbidden", "personal_data is missing")
    looked(page.toggle(key="stores").set_value(True).run())
    assert any("personal_data is missing" in caption.value for caption in page.caption)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "unauthenticated", "refuses this page"),
        (503, "not_ready", "is there and cannot answer now"),
        (422, "invalid", "refused: why"),
    ],
)
def test_problems_in_words(page: AppTest, api: FakeApi, status: int, code: str, words: str) -> None:
    api.refuse("/v1/status", status, code, "why")
    assert words in looked(page.run()).error[0].value


def test_what_is_not_the_api_is_told(page: AppTest, api: FakeApi) -> None:
    api.broken["/v1/status"] = httpx.Response(200, text="<html>welcome</html>")
    assert "is not the API that this page knows" in looked(page.run()).error[0].value


def test_an_unavailable_service_is_quoted() -> None:
    error = UnavailableError("Redis is full", code="store_full", status=503)
    assert problem(error, "http://x") == "The API at http://x is there and cannot answer now: Redis is full"
