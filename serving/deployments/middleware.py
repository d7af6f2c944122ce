"""What Ray Serve's HTTP server does around a request for recommendations, made less.

Serve watches every connection for a client that leaves and every request for its time limit, with two tasks each. The
gateway reads the whole body at once and keeps a budget of its own, so its requests ask Serve to leave both out.
Serve calls `middlewares` where `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` names it.
"""

from __future__ import annotations

from typing import Final

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.gateway.operations import RECOMMENDATIONS_PATH

_ADDED: Final = ((b"x-request-disconnect-disabled", b"?1"), (b"x-request-timeout-seconds", b"0"))


class Unwatched:
    """Marks requests for recommendations as ones that Serve need not watch.

    Args:
        app: Serve's application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == RECOMMENDATIONS_PATH:
            scope["headers"] = [*scope["headers"], *_ADDED]
        await self._app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """What Serve wraps its HTTP servers with."""
    return [Middleware(Unwatched)]
