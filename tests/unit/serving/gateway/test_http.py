"""Reading bodies."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Scope

from contracts.errors import SlowBodyError
from serving.gateway.http import read_body

SCOPE: Scope = {"type": "http", "headers": []}


async def test_a_body_arrives_in_parts() -> None:
    parts: list[Message] = [
        {"type": "http.request", "body": b"a", "more_body": True},
        {"type": "http.request", "body": b"b"},
    ]

    async def receive() -> Message:
        return parts.pop(0)

    assert await read_body(SCOPE, receive, 2) == b"ab"


async def test_a_client_that_stalls_is_sent_away() -> None:
    async def receive() -> Message:
        await asyncio.sleep(3_600)
        return {"type": "http.request"}

    with pytest.raises(SlowBodyError, match=r"the body did not arrive within 0\.01 s"):
        await read_body(SCOPE, receive, 10, timeout_s=0.01)
