from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import ray
import redis

from contracts.errors import StoreError
from serving.stores import owner
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.embedded import EmbeddedRedis

pytestmark = [pytest.mark.ray, pytest.mark.redis]


def test_a_given_address_starts_nothing() -> None:
    assert owner.resolve_address(StoreConfig(address="redis://store:6379")) == "redis://store:6379"


def test_without_address_and_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(StoreError, match="no address is set and Ray does not run"):
        owner.resolve_address(StoreConfig())


def test_one_owner_a_folder_that_survives_its_own_death(local_ray: None, tmp_path: Path) -> None:
    config = StoreConfig(embedded=EmbeddedRedisConfig(data_dir=tmp_path))
    assert not owner.healthy(config)
    try:
        address = owner.resolve_address(config)
        assert owner.resolve_address(config) == address
        assert owner.healthy(config)
        actor = ray.get_actor(owner._name(config.embedded), namespace=owner.NAMESPACE)
        with pytest.raises(
            StoreError, match="not from node elsewhere; a cluster of several machines needs the store's"
        ):
            owner._ask(actor, "address", "elsewhere")
        client = redis.Redis.from_url(address)
        client.set("kept", "yes")
        first = client.info("server")["process_id"]

        ray.kill(actor, no_restart=False)
        with suppress(psutil.NoSuchProcess):
            psutil.Process(first).wait(30)  # the old one may still answer for a moment
        assert owner.resolve_address(config) == address
        assert client.get("kept") == b"yes"
        second = client.info("server")["process_id"]
        assert second != first
    finally:
        owner.stop(config)
    owner.stop(config)
    assert not owner.healthy(config)
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


def test_a_folder_that_is_taken_is_a_store_error(local_ray: None, tmp_path: Path) -> None:
    config = StoreConfig(embedded=EmbeddedRedisConfig(data_dir=tmp_path))
    try:
        with EmbeddedRedis(config.embedded), pytest.raises(StoreError) as caught:
            owner.resolve_address(config)
        assert caught.value.message.startswith(f"another process owns the store in {tmp_path}")
        assert owner.resolve_address(config) == f"unix://{tmp_path}/redis.sock"
    finally:
        owner.stop(config)
