from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.embedded import EmbeddedRedis
from serving.stores.keys import ERASURES, REWRITTEN, Keys
from serving.stores.rewrites import ErasureRewriter
from serving.stores.user_data import UserDataStore

pytestmark = pytest.mark.redis
PATIENCE_S = 60.0
TOLD = b"what only this user did"


def append_only_file(folder: Path) -> bytes:
    while True:
        with suppress(FileNotFoundError):  # the server replaced a file since it was listed
            return b"".join(path.read_bytes() for path in (folder / "appendonlydir").iterdir())


async def act_and_erase(config: StoreConfig, server: EmbeddedRedis, user: str) -> None:
    stores = StoreConnection.open(config, server.address)
    await stores.client.set(Keys(config.shop).recent(f"u:{user}"), TOLD)
    await UserDataStore(stores).erase(user, 7)
    await stores.client.aclose()


async def test_erased_data_leaves_the_append_only_file_by_itself(tmp_path: Path, config: StoreConfig) -> None:
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path, erasure_rewrite_s=0.5)) as server:
        await act_and_erase(config, server, "u")
        deadline = time.monotonic() + PATIENCE_S
        while TOLD in append_only_file(tmp_path):
            assert time.monotonic() < deadline, "the file still holds what was erased"
            time.sleep(0.02)
        with redis.Redis.from_url(server.address) as client:
            assert client.hexists(Keys(config.shop).erased, "u")


async def test_a_restart_forgets_no_erasure_and_nothing_is_rewritten_without_one(
    tmp_path: Path, config: StoreConfig
) -> None:
    embedded = EmbeddedRedisConfig(data_dir=tmp_path)  # minutes, so that only the test looks
    with EmbeddedRedis(embedded) as server:
        await act_and_erase(config, server, "u")
        assert TOLD in append_only_file(tmp_path)
    with EmbeddedRedis(embedded) as server, server.admin_client() as admin:
        rewriter = ErasureRewriter(admin, 60.0, threading.Event())
        rewriter.look()
        assert TOLD in append_only_file(tmp_path)  # consumers get time
        rewriter.look()
        assert TOLD not in append_only_file(tmp_path)
        assert admin.mget(ERASURES, REWRITTEN) == [b"1", b"1"]
        files = sorted((tmp_path / "appendonlydir").iterdir())
        rewriter.look()
        rewriter.look()
        assert sorted((tmp_path / "appendonlydir").iterdir()) == files
