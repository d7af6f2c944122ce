from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.embedded import EmbeddedRedis

SHOP = "toys"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A Redis for the tests that do not break it."""
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path_factory.mktemp("redis"))) as running:
        yield running


@pytest.fixture
def client(server: EmbeddedRedis) -> Iterator[redis.Redis]:
    """A blocking client of an empty database."""
    with redis.Redis.from_url(server.address) as opened:
        opened.flushall()
        yield opened


@pytest.fixture
def stores(tmp_path: Path) -> StoreConfig:
    """Settings with time limits that a busy machine keeps."""
    return StoreConfig(
        shop=SHOP, feast_dir=tmp_path / "feast", records_dir=tmp_path / "records", read_timeout_ms=20_000
    )
