"""Keys of the issuer: fetched once, refreshed, and outlived."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from contracts.bundle import Bundle
from contracts.errors import KeysUnavailableError
from serving.gateway.access import tokens
from serving.gateway.access.config import JwtConfig
from serving.gateway.access.tokens import TokenVerifier
from tests.fixtures.local_server import served_locally
from tests.unit.serving.gateway.access.test_tokens import EC_KEY, RSA_KEY, ask, key_set, token
from tests.unit.serving.gateway.calls import AUDIENCE, ISSUER, code_of, jwt_access
from tests.unit.serving.gateway.conftest import Shop


class Issuer:
    """Serves a key set that can be changed and taken away."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] | None = key_set(one=RSA_KEY)
        self.page = b""
        self.pieces = b""
        self.moved_to = ""
        self.asked = 0
        self.held = False
        self.app = Starlette(routes=[Route("/keys", self.show)])

    async def show(self, request: Request) -> Response:
        self.asked += 1
        while self.held:
            await asyncio.sleep(0.01)
        if self.page:
            return Response(self.page)
        if self.pieces:
            return StreamingResponse(self.dripped())
        if self.moved_to:
            return RedirectResponse(self.moved_to)
        return JSONResponse(self.keys, 200 if self.keys is not None else 500)

    async def dripped(self) -> AsyncIterator[bytes]:
        """The same again and again, slowly, and never an end."""
        while True:
            yield self.pieces
            await asyncio.sleep(0.01)


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def fetching(issuer: Issuer, bundle: Bundle, raw_dir: Path) -> Iterator[Shop]:
    with served_locally(issuer.app) as address:
        yield Shop(bundle, raw_dir, access=jwt_access(f"{address}/keys"))


async def fetched(shop: Shop) -> None:
    """Waits for the fetch beside the calls."""
    await shop.access._authenticate._fetching  # type: ignore[union-attr, attr-defined]


async def test_keys_are_fetched_once(fetching: Shop, issuer: Issuer) -> None:
    for number in range(3):
        assert (await ask(fetching, token(number=number))).status_code == 200
    for number in range(3):
        assert (await ask(fetching, token(kid=f"unknown {number}"))).status_code == 401
    assert issuer.asked == 1, "unknown keys do not make us ask all the time"


async def test_who_has_a_known_key_never_waits_for_the_issuer(
    fetching: Shop, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(tokens.time, "monotonic", lambda: now)
    assert (await ask(fetching, token())).status_code == 200
    issuer.keys = key_set(one=RSA_KEY, two=EC_KEY)
    issuer.held = True
    now += 301
    for number in range(3):
        assert (await ask(fetching, token(number=number))).status_code == 200
    waiting = [asyncio.create_task(ask(fetching, token(EC_KEY, "two", "ES256", number=n))) for n in range(3)]
    assert (await ask(fetching, token(number=9))).status_code == 200
    issuer.held = False
    assert [response.status_code for response in await asyncio.gather(*waiting)] == [200, 200, 200]
    assert issuer.asked == 2, "one fetch for all"


async def test_new_keys_are_found_and_old_ones_outlive_the_issuer(
    fetching: Shop, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(tokens.time, "monotonic", lambda: now)
    assert (await ask(fetching, token())).status_code == 200
    issuer.keys = key_set(one=RSA_KEY, two=EC_KEY)
    now += 6
    assert (await ask(fetching, token(EC_KEY, "two", "ES256"))).status_code == 200
    issuer.keys = None
    now += 301
    assert (await ask(fetching, token(number=2))).status_code == 200
    await fetched(fetching)
    assert issuer.asked == 3
    issuer.page = b"<html>maintenance</html>"
    now += 301
    for number in (3, 4):
        assert (await ask(fetching, token(number=number))).status_code == 200
        await fetched(fetching)
    assert issuer.asked == 4
    issuer.page = b"[" * 100_000
    now += 301
    assert (await ask(fetching, token(number=5))).status_code == 200
    await fetched(fetching)
    assert (await ask(fetching, token(number=6))).status_code == 200


async def test_without_any_key_the_service_is_not_available(fetching: Shop, issuer: Issuer) -> None:
    issuer.keys = None
    response = await ask(fetching, token())
    assert (response.status_code, code_of(response)) == (503, "keys_unavailable")


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ({"pieces": b" " * 100_000}, "the key set has more than 1048576 bytes"),
        ({"pieces": b" "}, "the key set was not there within 0.5 s"),
        ({"held": True}, "the key set was not there within 0.5 s"),
        ({"moved_to": "/other"}, "307 Temporary Redirect"),
        ({"page": b"[" * 100_000}, "nested too deep"),
        ({"page": b"<html>"}, "Expecting value"),
        ({"page": b"[]"}, "cannot be fetched: "),
    ],
)
async def test_an_issuer_that_answers_with_anything_else_is_left_in_bounded_time_and_memory(
    issuer: Issuer, sent: dict[str, Any], says: str
) -> None:
    """What counts is the time for the whole: an issuer that sends a byte now and then has no end."""
    issuer.__dict__.update(sent)
    with served_locally(issuer.app) as address:
        jwks = {"jwks": f"{address}/keys", "issuer": ISSUER, "audience": AUDIENCE, "fetch_timeout_s": 0.5}
        verifier = TokenVerifier(JwtConfig.model_validate(jwks))
        try:
            with pytest.raises(KeysUnavailableError, match=says):
                await verifier(token())
        finally:
            issuer.held = False
