"""Chooses the backend of seen items; with `auto` the server decides."""

from __future__ import annotations

import logging
from functools import cache
from typing import Literal

import redis
import redis.asyncio

from contracts.errors import ConfigError
from serving.stores.config import StoreConfig
from serving.stores.keys import Keys

Backend = Literal["bitmap", "module"]
_log = logging.getLogger(__name__)


class SeenBackend:
    """The backend of a store. The server is asked until it has answered once.

    Args:
        config: the store's settings.
        address: redis:// or rediss:// address, for messages.
    """

    def __init__(self, config: StoreConfig, address: str) -> None:
        self._setting = config.seen_backend
        self._address = address
        self._probe = ("BF.EXISTS", Keys(config.shop).seen_on("", 0), "")
        self._known: Backend | None = "bitmap" if config.seen_backend == "bitmap" else None

    async def ask(self, client: redis.asyncio.Redis) -> Backend:
        """The backend; asks with a client of the running event loop.

        Raises:
            ConfigError: the settings want the module, which the server lacks.
            RedisError: the server does not answer.
        """
        if self._known is None:
            try:
                await client.execute_command(*self._probe)
                self._known = self._decide(has_module=True)
            except redis.ResponseError as error:
                self._known = self._decide(has_module=_is_something_else(error))
        return self._known

    def ask_blocking(self, client: redis.Redis) -> Backend:
        """As `ask`, with a blocking client."""
        if self._known is None:
            try:
                client.execute_command(*self._probe)
                self._known = self._decide(has_module=True)
            except redis.ResponseError as error:
                self._known = self._decide(has_module=_is_something_else(error))
        return self._known

    def _decide(self, *, has_module: bool) -> Backend:
        if self._setting == "module" and not has_module:
            raise ConfigError(
                f"seen_backend is 'module', but the store at {self._address} lacks RedisBloom or forbids its commands "
                "(BF.*); load the module there, or set seen_backend: bitmap"
            )
        backend: Backend = "module" if has_module else "bitmap"
        _tell(self._address, backend)
        return backend


def _is_something_else(error: redis.ResponseError) -> bool:
    """Whether an error is another one than an unknown or forbidden command."""
    if isinstance(error, redis.exceptions.NoPermissionError) or "unknown command" in str(error).lower():
        return False
    raise error


@cache
def _tell(address: str, backend: Backend) -> None:
    """Logs the backend once a process."""
    why = "has RedisBloom" if backend == "module" else "lacks RedisBloom (or forbids its commands)"
    _log.info("seen items are kept by the backend %r: the store at %s %s", backend, address, why)
