"""Which backend of seen items a server gets."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from contracts.bloom import Rings
from contracts.errors import ConfigError, StoreError
from serving.stores.client import bulk_client
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.embedded import EmbeddedRedis
from serving.stores.interactions import InteractionStore
from serving.stores.seen import SeenStore
from serving.stores.seen_backend import SeenBackend
from tests.contract.test_seen_backends import TODAY, view
from tests.fixtures.seen import are_seen


def config_of(backend: Any) -> StoreConfig:
    return StoreConfig(shop="toys", seen_backend=backend, read_timeout_ms=60_000)


async def test_auto_takes_the_module_where_it_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client, config = fakeredis.FakeAsyncRedis(), config_of("auto")
    stores = StoreConnection(config, "redis://has-it", client)
    await InteractionStore(stores).add([view("u", "a")])
    assert await client.exists(f"toys:v3:seen_on:u:u:{TODAY}", "toys:v3:seen:u:u") == 1
    assert await are_seen(SeenStore(stores), ["u:u"], ["a"], TODAY) == [True]
    told = "seen items are kept by the backend 'module': the store at redis://has-it has RedisBloom"
    assert [record.message for record in caplog.records].count(told) == 1


async def test_an_answer_that_tells_nothing_about_the_module_is_passed_on() -> None:
    client = fakeredis.FakeAsyncRedis()
    await client.set("toys:v3:seen_on::0", "no filter")
    with pytest.raises(StoreError, match="answered with an error"):
        await SeenStore(StoreConnection(config_of("auto"), "redis://odd", client)).read(["u"], TODAY)


@pytest.mark.redis
async def test_a_server_without_the_module(redis_address: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    auto, module = config_of("auto"), config_of("module")
    connection = StoreConnection.open(auto, redis_address)
    await connection.check()
    assert f"'bitmap': the store at {redis_address} lacks RedisBloom (or forbids its commands)" in caplog.text
    assert isinstance(await SeenStore(connection).read(["u"], TODAY), Rings)
    wanting = connection._replace(config=module)
    lacking = "seen_backend is 'module', but the store at .* lacks RedisBloom .* set seen_backend: bitmap"
    for call in (
        wanting.check(),
        SeenStore(wanting).read(["u"], TODAY),
        InteractionStore(wanting).add([view("u", "a")]),
    ):
        with pytest.raises(ConfigError, match=lacking):
            await call
    with bulk_client(module, redis_address) as client, pytest.raises(ConfigError, match=lacking):
        SeenBackend(module, redis_address).ask_blocking(client)
    await connection.client.aclose()


async def test_a_server_that_does_not_answer_is_asked_when_it_is_used() -> None:
    connection = StoreConnection.open(config_of("module"), "redis://127.0.0.1:1")
    await connection.check()
    with pytest.raises(StoreError, match="no connection to the store"):
        await SeenStore(connection).read(["u"], TODAY)
    await connection.client.aclose()


@pytest.fixture
def redis_address(tmp_path: Path) -> Iterator[str]:
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path)) as server:
        yield server.address
