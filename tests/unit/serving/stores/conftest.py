from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import fakeredis
import pytest
import redis
import redis.asyncio

from serving.stores.client import async_client
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.embedded import EmbeddedRedis
from serving.stores.interactions import InteractionStore

FAKE_ADDRESS = "redis://fake"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A Redis for the tests that do not break it."""
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path_factory.mktemp("redis"))) as running:
        yield running


@pytest.fixture
def bulk(server: EmbeddedRedis) -> Iterator[redis.Redis]:
    """A blocking client of an empty database."""
    with redis.Redis.from_url(server.address) as client:
        client.flushall()
        yield client


@pytest.fixture
def config(tmp_path_factory: pytest.TempPathFactory) -> StoreConfig:
    """Settings with time limits that a busy machine keeps."""
    return StoreConfig(shop="toys", feast_dir=tmp_path_factory.mktemp("feast"), read_timeout_ms=20_000)


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.redis)])
async def client(request: pytest.FixtureRequest, config: StoreConfig) -> AsyncIterator[redis.asyncio.Redis]:
    """The same tests run against a stand-in and against a server."""
    if request.param == "fake":
        opened = fakeredis.FakeAsyncRedis()
    else:
        request.getfixturevalue("bulk")
        opened = async_client(config, request.getfixturevalue("server").address)
    yield opened
    await opened.aclose()


@pytest.fixture
def store(client: redis.asyncio.Redis, config: StoreConfig) -> InteractionStore:
    return InteractionStore(StoreConnection(config, "redis://test", client))
