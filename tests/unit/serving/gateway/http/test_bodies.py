"""Reading bodies: in time, within limits, and not too much of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import Message, Scope

from contracts.config import validate
from contracts.errors import BodyTooLargeError, ConfigError, OverloadedError, SlowBodyError
from serving.gateway.http.bodies import FREE_BYTES, Bodies
from serving.gateway.http.config import GatewayConfig
from serving.gateway.wire import ClientGoneError

SCOPE: Scope = {"type": "http", "headers": []}
LARGE = b"x" * (FREE_BYTES + 600)


def sends(*parts: bytes, last: bool = True) -> Callable[[], Awaitable[Message]]:
    """A client that sends parts of a body and then stalls, or is done with the last one."""
    left = list(parts)

    async def receive() -> Message:
        if not left:
            await asyncio.sleep(3_600)
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or not last}

    return receive


async def test_a_body_arrives_in_parts() -> None:
    async with Bodies(2, 100).read(SCOPE, sends(b"a", b"b")) as body:
        assert body == b"ab"


async def test_a_client_that_stalls_is_sent_away() -> None:
    with pytest.raises(SlowBodyError, match=r"the body did not arrive within 0\.01 s"):
        async with Bodies(10, 100, timeout_s=0.01).read(SCOPE, sends()):
            pass


@pytest.mark.parametrize("declared", [b"11", b"9" * 18, b"9" * 5_000])
async def test_a_length_that_is_too_large_is_refused_before_anything_is_read(declared: bytes) -> None:
    scope = {**SCOPE, "headers": [(b"content-length", declared)]}
    with pytest.raises(BodyTooLargeError, match="bytes or more, at most 10 are taken"):
        async with Bodies(10, 100).read(scope, sends()):
            pass


async def test_bodies_are_held_until_they_are_answered_and_bounded_in_sum() -> None:
    bodies = Bodies(10**6, 1_000)
    async with bodies.read(SCOPE, sends(LARGE)):
        assert bodies.held_bytes == 600
        with pytest.raises(
            OverloadedError, match="bodies of 1200 bytes are held already, at most 1000 may be"
        ) as caught:
            async with bodies.read(SCOPE, sends(LARGE)):
                pass
        assert caught.value.details == {"retry_after_s": 1}
        async with bodies.read(SCOPE, sends(b"x" * FREE_BYTES)):
            assert bodies.held_bytes == 600, "small ones are taken all the same"
    async with bodies.read(SCOPE, sends(LARGE)):
        pass
    assert bodies.held_bytes == 0


async def test_bodies_that_do_not_come_to_an_end_count_and_are_given_back() -> None:
    bodies = Bodies(10**6, 10_000)

    async def hold() -> None:
        async with bodies.read(SCOPE, sends(LARGE, last=False)):
            pass

    stalled = [asyncio.create_task(hold()) for _ in range(3)]
    await asyncio.sleep(0.05)
    assert bodies.held_bytes == 1_800
    for task in stalled:
        task.cancel()
    await asyncio.gather(*stalled, return_exceptions=True)
    assert bodies.held_bytes == 0


async def test_a_client_that_leaves_is_told_nothing() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGoneError):
        async with Bodies(10, 100).read(SCOPE, receive):
            pass


def test_the_largest_body_fits() -> None:
    with pytest.raises(ConfigError, match="max_held_body_mb=1 is below max_body_bytes=2000000"):
        validate(GatewayConfig, {"max_body_bytes": 2_000_000, "max_held_body_mb": 1}, source="x")
