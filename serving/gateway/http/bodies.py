"""Reads bodies of requests, with limits of time, size and total memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from starlette.types import Receive, Scope

from contracts.errors import BodyTooLargeError, OverloadedError, SlowBodyError
from serving.gateway.wire import ClientGoneError, header

BODY_TIMEOUT_S: Final = 10.0
"""Longest time for a body to arrive, so that stalled clients do not hold a place."""
FREE_BYTES: Final = 16_384
"""Bytes of each body that do not count, so that small requests are accepted however many large ones are held."""
_RETRY_AFTER_S: Final = 1
_MAX_DIGITS: Final = 18


class Bodies:
    """Reads bodies and counts their bytes until their requests are answered.

    Attributes:
        held_bytes: bytes of bodies that are being read or answered, without the free ones.

    Args:
        max_bytes: of one body.
        max_held_bytes: of all bodies.
        timeout_s: longest time for a body to arrive.
    """

    def __init__(self, max_bytes: int, max_held_bytes: int, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self._max_bytes = max_bytes
        self._max_held_bytes = max_held_bytes
        self._timeout_s = timeout_s
        self.held_bytes = 0

    @asynccontextmanager
    async def read(self, scope: Scope, receive: Receive) -> AsyncIterator[bytes]:
        """The body of a request, which counts until the block is left.

        Raises:
            BodyTooLargeError: more than `max_bytes`.
            OverloadedError: other bodies hold too many bytes.
            SlowBodyError: the body does not arrive in time.
            ClientGoneError: the client left.
        """
        declared = header(scope, b"content-length")
        if declared is not None and declared.isdigit():
            self._check_size(10**_MAX_DIGITS if len(declared) > _MAX_DIGITS else int(declared))
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(self._timeout_s):
                    while await self._more(body, receive):
                        pass
            except TimeoutError:
                raise SlowBodyError(f"the body did not arrive within {self._timeout_s:g} s") from None
            yield bytes(body)
        finally:
            self.held_bytes -= _counted(body)

    async def _more(self, body: bytearray, receive: Receive) -> bool:
        """Adds the next part to a body; True if more follows."""
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        before = _counted(body)
        body += message.get("body", b"")
        self.held_bytes += _counted(body) - before
        self._check_size(len(body))
        if _counted(body) and self.held_bytes > self._max_held_bytes:
            raise OverloadedError(
                f"bodies of {self.held_bytes} bytes are held already, at most {self._max_held_bytes} may be; "
                f"try again after {_RETRY_AFTER_S} s, or raise gateway.max_held_body_mb",
                retry_after_s=_RETRY_AFTER_S,
            )
        return bool(message.get("more_body", False))

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise BodyTooLargeError(f"the body has {size} bytes or more, at most {self._max_bytes} are taken")


def _counted(body: bytearray) -> int:
    return max(len(body) - FREE_BYTES, 0)
