"""Middleware for Ray Serve's HTTP server that saves work and repairs a header.

Serve watches every connection for a disconnect and every request for its time limit, with two tasks each. The gateway
reads bodies at once and has a budget of its own, so frequent calls ask Serve to leave both out. Serve also adds the
client's `X-Request-Id` to answers that already have the gateway's; only the first one is kept. Serve calls
`middlewares` if `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` names it.
"""

from __future__ import annotations

from typing import Final

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recommender_api.operations import OPERATIONS
from serving.gateway.wire import REQUEST_ID

_HOT: Final = frozenset(one.path for one in OPERATIONS if one.hot)
_ADDED: Final = ((b"x-request-disconnect-disabled", b"?1"), (b"x-request-timeout-seconds", b"0"))


class Unwatched:
    """Marks frequent calls, so that Serve does not watch them.

    Args:
        app: Serve's application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in _HOT:
            scope["headers"] = [*scope["headers"], *_ADDED]
        await self._app(scope, receive, send)


class NamedOnce:
    """Keeps only the first `X-Request-Id` of an answer.

    Args:
        app: Serve's application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_once(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                named = [place for place, (name, _) in enumerate(headers) if name.lower() == REQUEST_ID]
                message["headers"] = [pair for place, pair in enumerate(headers) if place not in named[1:]]
            await send(message)

        await self._app(scope, receive, send_once)


def middlewares() -> list[Middleware]:
    """The middleware for Serve's HTTP servers."""
    return [Middleware(Unwatched), Middleware(NamedOnce)]
