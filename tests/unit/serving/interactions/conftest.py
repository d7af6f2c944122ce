from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from serving.interactions.build import open_consumer
from serving.interactions.config import ConsumerConfig
from serving.interactions.consumer import FeatureConsumer
from serving.interactions.meter import ConsumerMeter
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.embedded import EmbeddedRedis

SHOP = "toys"
AT_ONCE = ConsumerConfig(flush_interval_s=1e-9, claim_after_s=3_600, gather_ms=0)
Open = Callable[..., FeatureConsumer]


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


@pytest.fixture
def consumer(server: EmbeddedRedis, client: redis.Redis, stores: StoreConfig) -> Iterator[Open]:
    """Opens consumers, which are closed after the test."""
    with ExitStack() as stack:

        def opened(config: ConsumerConfig = AT_ONCE, name: str = "one", meter: Any = None) -> FeatureConsumer:
            meter = meter or ConsumerMeter()
            return stack.enter_context(open_consumer(config, stores, server.address, "UTC", name, meter))

        yield opened
