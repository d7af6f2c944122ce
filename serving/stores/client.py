"""Redis clients with a time limit on every command, and translation of their errors."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.connection import HiredisRespSerializer
from redis.retry import Retry
from redis.typing import EncodableT

from contracts.errors import StoreAccessError, StoreError, StoreFullError, StoreReadOnlyError
from serving.stores.config import StoreConfig

NUM_RETRIES = 3
_BACKOFF_BASE_S = 0.01
_BACKOFF_CAP_S = 0.2
_SERIALIZER: Final = HiredisRespSerializer()


class _Pool(redis.asyncio.BlockingConnectionPool):  # type: ignore[misc]  # redis-py is not checked
    """Its connections pack commands in C, as redis-py's blocking ones do: scripts have hundreds of arguments."""

    def make_connection(self) -> redis.asyncio.Connection:
        connection = super().make_connection()
        connection.pack_command = _pack
        return connection


def _pack(*args: EncodableT) -> list[bytes]:
    return list(_SERIALIZER.pack(*args))


def is_socket(address: str) -> bool:
    """Whether an address is a Unix socket, as the embedded server's is."""
    return urlsplit(address).scheme == "unix"


def connection_options(config: StoreConfig, address: str) -> dict[str, Any]:
    """Host and port or socket, database, credentials and TLS of an address, as redis-py names them."""
    parts = urlsplit(address)
    options: dict[str, Any] = {"host": parts.hostname, "port": parts.port or 6379}
    if is_socket(address):
        options = {"unix_socket_path": unquote(parts.path)}
    elif database := parts.path.strip("/"):
        options["db"] = int(database)
    if config.username is not None:
        options["username"] = config.username
    if (password := config.password()) is not None:
        options["password"] = password
    if parts.scheme == "rediss":
        options["ssl"] = True
        if config.ca_file is not None:
            options["ssl_ca_certs"] = str(config.ca_file)
    return options


def async_client(config: StoreConfig, address: str) -> redis.asyncio.Redis:
    """Client of serving; connects when first used and reconnects after a loss."""
    options = connection_options(config, address)
    kind = redis.asyncio.SSLConnection if options.pop("ssl", False) else redis.asyncio.Connection
    if is_socket(address):
        kind, options["path"] = redis.asyncio.UnixDomainSocketConnection, options.pop("unix_socket_path")
    pool = _Pool(
        connection_class=kind,
        max_connections=config.pool_size,
        timeout=config.read_timeout_ms / 1000,
        socket_timeout=config.read_timeout_ms / 1000,
        socket_connect_timeout=config.connect_timeout_ms / 1000,
        retry=AsyncRetry(retry_backoff(), NUM_RETRIES, supported_errors=(redis.ConnectionError,)),
        **options,
    )
    return redis.asyncio.Redis.from_pool(pool)


def bulk_client(config: StoreConfig, address: str) -> redis.Redis:
    """Blocking client of the jobs."""
    return redis.Redis(
        **connection_options(config, address),
        socket_timeout=config.bulk_timeout_s,
        socket_connect_timeout=config.connect_timeout_ms / 1000,
        retry=Retry(retry_backoff(), NUM_RETRIES, supported_errors=(redis.ConnectionError,)),
        driver_info=None,
    )


@asynccontextmanager
async def store_errors(config: StoreConfig, address: str) -> AsyncIterator[None]:
    """Limits an operation to `read_timeout_ms` and turns its errors into a `StoreError`."""
    try:
        with bulk_errors(address):
            async with asyncio.timeout(config.read_timeout_ms / 1000):
                yield
    except TimeoutError as error:
        raise StoreError(
            f"the store at {address} did not answer within {config.read_timeout_ms} ms; it will be asked again"
        ) from error


@contextmanager
def bulk_errors(address: str) -> Iterator[None]:
    """Turns Redis errors into a `StoreError` that names the address and the likely fix."""
    try:
        yield
    except redis.RedisError as error:
        raise _translated(error, address) from error


def _translated(error: redis.RedisError, address: str) -> StoreError:
    """The error for the code in a reply; older servers quote that code in the error of a script."""
    quoted = re.search(r"(?:^|-)([A-Z]{3,}) ", str(error))
    match quoted[1] if quoted else error.status_code:
        case "OOM":
            return StoreFullError(
                f"the store at {address} is full and takes no writes: {error}; raise its maxmemory, "
                "or check that consumers read the stream of interactions"
            )
        case "MISCONF":
            return StoreFullError(
                f"the store at {address} cannot write its files and takes no writes: {error}; make room on its disk"
            )
        case "READONLY":
            return StoreReadOnlyError(
                f"the store at {address} is a read-only replica: {error}; set the address of the primary"
            )
        case "NOREPLICAS":
            return StoreReadOnlyError(f"the store at {address} takes no writes: {error}; start its replicas")
        case "WRONGPASS" | "NOAUTH":
            return StoreAccessError(
                f"the store at {address} refused the credentials: {error}; check username and password_file"
            )
        case "NOPERM":
            return StoreAccessError(f"the store at {address} does not allow this user to do this: {error}")
    if any(isinstance(one, redis.AuthenticationError) for one in (error, *error.args)):
        return StoreAccessError(f"the store at {address} wants credentials: {error}; set username and password_file")
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return StoreError(f"no connection to the store at {address}: {error}; is it running and reachable?")
    return StoreError(f"the store at {address} answered with an error: {error}")


def retry_backoff() -> ExponentialWithJitterBackoff:
    """Waits between the attempts of one operation."""
    return ExponentialWithJitterBackoff(base=_BACKOFF_BASE_S, cap=_BACKOFF_CAP_S)
