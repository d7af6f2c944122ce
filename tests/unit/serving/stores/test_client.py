from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
import redis

from contracts.errors import StoreError
from serving.stores.client import async_client, bulk_errors, connection_options, store_errors
from serving.stores.config import StoreConfig


def test_connection_options_of_a_production_address(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("a,b=c\n")
    config = StoreConfig(
        address="rediss://store.example:6380/2",
        username="app",
        password_file=tmp_path / "password",
        ca_file=Path("/etc/ca.pem"),
    )
    assert connection_options(config, str(config.address)) == {
        "host": "store.example",
        "port": 6380,
        "db": 2,
        "username": "app",
        "password": "a,b=c",
        "ssl": True,
        "ssl_ca_certs": "/etc/ca.pem",
    }


async def test_tls_is_used_for_rediss() -> None:
    config = StoreConfig(address="rediss://store.example", ca_file=Path("/etc/ca.pem"))
    pool = async_client(config, str(config.address)).connection_pool
    assert issubclass(pool.connection_class, redis.asyncio.SSLConnection)
    assert pool.connection_kwargs["ssl_ca_certs"] == "/etc/ca.pem"


def test_commands_are_packed_as_redis_py_packs_them() -> None:
    pool = async_client(StoreConfig(), "redis://store.example").connection_pool
    assert not issubclass(pool.connection_class, redis.asyncio.SSLConnection)
    command = ("CONFIG SET", "name", b"\x00\xff", 7, 1.5, "ü" * 7_000)
    ours, theirs = pool.connection_class(), redis.asyncio.Connection()
    assert b"".join(ours.pack_command(*command)) == b"".join(theirs.pack_command(*command))
    assert b"".join(ours.pack_commands([command, ("PING",)])).endswith(b"*1\r\n$4\r\nPING\r\n")


async def test_a_refused_address_is_a_store_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"redis://127.0.0.1:{taken.getsockname()[1]}"
        config = StoreConfig(address=address, read_timeout_ms=20_000)
        client = async_client(config, address)
        with pytest.raises(StoreError, match=r"no connection to the store at redis://127.0.0.1:.*is it running"):
            async with store_errors(config, address):
                await client.ping()
        await client.aclose()


async def test_a_store_that_does_not_answer_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        config = StoreConfig(address=address, read_timeout_ms=50)
        client = async_client(config, address)
        with pytest.raises(StoreError, match=r"did not answer within 50 ms|no connection"):
            async with asyncio.timeout(20), store_errors(config, address):
                await client.ping()
        await client.aclose(close_connection_pool=True)


IN_A_SCRIPT = "Error running script (call to f_0632): @user_script:22: @user_script: 22: -{}"


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (
            redis.AuthenticationError("wrong", status_code="WRONGPASS"),
            "store_access_denied",
            "check username and password_file",
        ),
        (
            redis.AuthenticationError("none", status_code="NOAUTH"),
            "store_access_denied",
            "refused the credentials: none",
        ),
        (
            redis.exceptions.NoPermissionError("no", status_code="NOPERM"),
            "store_access_denied",
            "not allow this user to do this: no",
        ),
        (
            redis.BusyLoadingError("loading", status_code="LOADING"),
            "store_unavailable",
            "no connection to the store at r",
        ),
        (redis.TimeoutError("late"), "store_unavailable", "no connection to the store at redis://x: late"),
        (redis.OutOfMemoryError("used", status_code="OOM"), "store_full", "takes no writes: used; raise its maxmemory"),
        (redis.ResponseError(IN_A_SCRIPT.format("OOM used"), status_code="ERR"), "store_full", "raise its maxmemory"),
        (redis.ResponseError("MISCONF Errors writing"), "store_full", "cannot write its files and takes no writes"),
        (redis.ReadOnlyError("no", status_code="READONLY"), "store_read_only", "replica: no; set the address of the p"),
        (
            redis.ResponseError(IN_A_SCRIPT.format("READONLY no"), status_code="ERR"),
            "store_read_only",
            "of the primary",
        ),
        (
            redis.ResponseError("NOREPLICAS Not enough"),
            "store_read_only",
            "takes no writes: NOREPLICAS Not enough; start",
        ),
        (redis.ResponseError("WRONGTYPE"), "store_unavailable", "answered with an error: WRONGTYPE"),
    ],
)
def test_redis_errors_become_store_errors(raised: Exception, code: str, message: str) -> None:
    with pytest.raises(StoreError) as caught, bulk_errors("redis://x"):
        raise raised
    assert (caught.value.code, caught.value.http_status) == (code, 503)
    assert message in caught.value.message
