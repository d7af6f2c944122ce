"""The gateway as an ASGI application: recommendations by hand, because they are many; the rest through Starlette."""

from __future__ import annotations

import re
import uuid
from typing import Final

from pydantic import Field
from starlette.types import ASGIApp, Receive, Scope, Send

from contracts.config import StrictConfig
from serving.gateway.api import decode_request
from serving.gateway.http import ClientGoneError, MethodError, check_json, error_answer, header, read_body, send_json
from serving.gateway.service import RecommendationService

RECOMMENDATIONS_PATH: Final = "/v1/recommendations"
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class GatewayConfig(StrictConfig):
    """Limits of the HTTP side."""

    max_body_bytes: int = Field(default=65_536, ge=1_024)
    """Larger bodies are refused with 413."""


class Gateway:
    """Answers `POST /v1/recommendations` and hands every other path on.

    Args:
        service: answers recommendation requests.
        rest: the application for all other paths and the lifespan.
        config: limits.
    """

    def __init__(self, service: RecommendationService, rest: ASGIApp, config: GatewayConfig) -> None:
        self._service = service
        self._rest = rest
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].removeprefix(scope.get("root_path", "")) != RECOMMENDATIONS_PATH:
            await self._rest(scope, receive, send)
            return
        request_id = request_id_of(scope)
        try:
            content = await self._recommend(scope, receive, request_id)
        except ClientGoneError:
            return
        except Exception as error:
            await send_json(send, *error_answer(error, request_id))
        else:
            await send_json(send, 200, content)

    async def _recommend(self, scope: Scope, receive: Receive, request_id: str) -> bytes:
        if scope["method"] != "POST":
            raise MethodError(f"{scope['method']} {RECOMMENDATIONS_PATH} does not exist, use POST", allowed=["POST"])
        check_json(scope)
        request = decode_request(await read_body(scope, receive, self._config.max_body_bytes))
        return await self._service.recommend(request, request_id)


def request_id_of(scope: Scope) -> str:
    """The client's X-Request-Id if it is a sane one, else a new id."""
    given = header(scope, b"x-request-id")
    return given.decode() if given is not None and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
