"""What clients send: retries, deadlines, ids of events, and nothing that was not given."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

import recommender_client as rc
from recommender_client import AsyncClient, Client


class Script:
    """Answers with given responses, one after the other; keeps the requests and the waits between them."""

    def __init__(self, *responses: httpx.Response | httpx.TransportError) -> None:
        self.responses = list(responses)
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = self.responses.pop(0)
        if isinstance(response, httpx.TransportError):
            raise response
        return response

    async def wait(self, seconds: float) -> None:
        self.waits.append(seconds)


READY = msgspec.json.encode(rc.SimilarItems("i1", "v", []))


def fine() -> httpx.Response:
    return httpx.Response(200, content=READY)


def busy(status: int, retry_after: str | None = None) -> httpx.Response:
    headers = {} if retry_after is None else {"retry-after": retry_after}
    body = {"error": {"code": "overloaded", "message": "too many", "details": {}}}
    return httpx.Response(status, json=body, headers=headers)


async def run(script: Script, monkeypatch: pytest.MonkeyPatch, retry: rc.Retry, kind: str) -> rc.SimilarItems:
    transport = httpx.MockTransport(script)
    if kind == "sync":
        monkeypatch.setattr("recommender_client.clients.time.sleep", script.waits.append)
        with Client("http://shop", retry=retry, transport=transport) as client:
            return client.similar("i1")
    monkeypatch.setattr("recommender_client.clients.asyncio.sleep", script.wait)
    async with AsyncClient("http://shop", retry=retry, transport=transport) as opened:
        return await opened.similar("i1")


both = pytest.mark.parametrize("kind", ["sync", "async"])


@both
async def test_busy_services_are_asked_again_after_the_time_they_ask_for(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(busy(429, "1"), busy(503), httpx.ConnectError("refused"), fine())
    retry = rc.Retry(attempts=4, first_s=0.1, longest_s=2.0, generator=random.Random(0))
    assert (await run(script, monkeypatch, retry, kind)).item_id == "i1"
    assert len(script.requests) == 4
    first, second, third = script.waits
    assert 1 <= first <= 1.1
    assert 0 <= second <= 0.2
    assert 0 <= third <= 0.4


GIVEN_UP: list[tuple[Callable[[], Script], int, type[rc.ApiError]]] = [
    (lambda: Script(*[busy(429) for _ in range(3)]), 3, rc.OverloadedError),
    (lambda: Script(*[busy(503) for _ in range(3)]), 3, rc.UnavailableError),
    (lambda: Script(*[httpx.ConnectError("refused")] * 3), 3, rc.NoConnectionError),
    (lambda: Script(busy(429, "60")), 1, rc.OverloadedError),
    (lambda: Script(busy(500)), 1, rc.UnavailableError),
    (lambda: Script(httpx.ReadTimeout("late")), 1, rc.NoConnectionError),
    (lambda: Script(httpx.Response(404, content=b"<html>")), 1, rc.NotFoundError),
    (lambda: Script(httpx.Response(302, headers={"location": "/"})), 1, rc.RefusedError),
    (lambda: Script(httpx.Response(200, content=b"<html>")), 1, rc.BadAnswerError),
    (lambda: Script(httpx.Response(200, content=b'{"item_id": 7}')), 1, rc.BadAnswerError),
]


@both
@pytest.mark.parametrize(("script", "attempts", "error"), GIVEN_UP)
async def test_what_stays_wrong_is_raised(
    kind: str,
    script: Callable[[], Script],
    attempts: int,
    error: type[rc.ApiError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    played = script()
    with pytest.raises(error) as caught:
        await run(played, monkeypatch, rc.Retry(), kind)
    assert type(caught.value) is error
    assert len(played.requests) == attempts


def test_a_late_answer_is_told_apart_from_none() -> None:
    for cause, code in ((httpx.ReadTimeout("late"), "timeout"), (httpx.ConnectError("refused"), "no_connection")):
        transport = httpx.MockTransport(Script(cause))
        with Client("http://shop", retry=rc.Retry(attempts=1), transport=transport) as client:
            with pytest.raises(rc.NoConnectionError, match="no answer from http://shop") as caught:
                client.status()
            assert caught.value.code == code


@pytest.mark.parametrize(
    ("values", "says"),
    [({"attempts": 0}, "attempts=0"), ({"first_s": 3}, "first_s=3 is not within"), ({"first_s": -1}, "-1")],
)
def test_retries_that_cannot_be_meant_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        rc.Retry(**values)


@both
async def test_an_event_that_is_sent_again_keeps_its_id(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = httpx.Response(202, json={"accepted": 1, "duplicates": 0, "refused": []})
    script = Script(httpx.ConnectError("broken"), taken)
    events = [rc.InteractionEvent(user_id="u1", item_id="i1", event="view")]
    transport = httpx.MockTransport(script)
    if kind == "sync":
        monkeypatch.setattr("recommender_client.clients.time.sleep", script.waits.append)
        with Client("http://shop", transport=transport) as client:
            assert client.record(events).accepted == 1
    else:
        monkeypatch.setattr("recommender_client.clients.asyncio.sleep", script.wait)
        async with AsyncClient("http://shop", transport=transport) as opened:
            assert (await opened.record(events)).accepted == 1
    first, second = (msgspec.json.decode(request.content)[0] for request in script.requests)
    assert first == second
    assert len(first["event_id"]) == 32


async def test_only_what_is_given_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(httpx.Response(400), httpx.Response(400), httpx.Response(400))
    with Client("http://shop/under", transport=httpx.MockTransport(script)) as client:
        for call in (
            lambda: client.recommend(),
            lambda: client.recommend(rc.RecommendationRequest(user_id="u1", filters=rc.Filters(max_price=3.5))),
            lambda: client.similar("a/b c", rc.SimilarQuery(k=5)),
        ):
            with pytest.raises(rc.RefusedError):
                call()
    assert [request.content for request in script.requests] == [
        b"{}",
        b'{"user_id":"u1","filters":{"max_price":3.5}}',
        b"",
    ]
    assert script.requests[2].url.raw_path == b"/under/v1/items/a%2Fb%20c/similar?k=5"
