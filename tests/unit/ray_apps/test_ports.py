from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from contracts.errors import ConfigError
from ray_apps import ports
from ray_apps.ports import check_port, free_port, port_block

TAKE = """
import sys
from ray_apps.ports import port_block
print("up", flush=True)
sys.stdin.readline()
with port_block() as environment:
    print(*environment.values(), flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        yield busy


def test_a_busy_port_is_told(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(ConfigError, match=rf"port {port} is in use; .* PORT=8001"):
        check_port(port)
    assert free_port(port) > port
    check_port(free_port(20_000))


def test_servers_that_start_together_share_no_port() -> None:
    starting = [
        subprocess.Popen([sys.executable, "-c", TAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    taken: list[int] = []
    for one in starting:
        assert one.stdout is not None
        assert one.stdout.readline() == "up\n"
    for one in starting:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    for one in starting:
        assert one.stdout is not None
        stats, metrics, first_http, last_http, first_grpc, last_grpc = map(int, one.stdout.readline().split())
        taken += [stats, metrics, *range(first_http, last_http), *range(first_grpc, last_grpc)]
    for one in starting:
        one.communicate("\n", timeout=30)
        assert one.returncode == 0
    assert len(taken) == len(set(taken)) > 4 * 100
    assert max(taken) < 32_768


def test_a_block_is_free_again_afterwards_and_passed_over_while_somebody_listens_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ports, "FIRST", 12_000 + os.getpid() % 30 * 300)  # other tests take blocks meanwhile
    with port_block() as first, port_block() as second:
        assert second != first
    with port_block() as again:
        assert again == first
    with socket.socket() as left_over:
        left_over.bind(("127.0.0.1", int(first["RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"])))
        left_over.listen()
        with port_block() as other:
            assert other != first


def test_no_free_block_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "NUM_BLOCKS", 0)
    with pytest.raises(ConfigError, match="0 blocks of ports from 23000 on are all in use"), port_block():
        pass
