from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from contracts.errors import ConfigError
from ray_apps import ports
from ray_apps.ports import check_port, check_proxy_ports, free_port, port_block, port_users

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
    with pytest.raises(ConfigError, match=rf"port {port} is in use by .* \(process {os.getpid()}\); .* PORT=8001"):
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
        *proxies, first_http, last_http, first_grpc, last_grpc = map(int, one.stdout.readline().split())
        assert len(proxies) == 4
        taken += [*proxies, *range(first_http, last_http), *range(first_grpc, last_grpc)]
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


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.7")])
@pytest.mark.parametrize("place", [0, 1, 3, 10, ports.SIZE - 1])
def test_a_foreign_program_in_a_block_is_named_and_the_next_block_taken(
    family: socket.AddressFamily,
    address: str,
    place: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(ports, "FIRST", 12_000 + os.getpid() % 30 * 300)  # other tests take blocks meanwhile
    with port_block() as free:
        first = min(map(int, free.values())) - 1
    with socket.socket(family) as foreign:
        if family == socket.AF_INET6:
            foreign.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        foreign.bind((address, first + place))
        foreign.listen()
        with port_block() as taken:
            assert not set(taken.values()) & set(free.values())
    told = rf"port {first + place} is used by .+ \(process {os.getpid()}\); ports {first} to {first + 149} are skipped"
    assert re.search(told, caplog.text)


def test_servers_of_our_own_are_passed_over_without_a_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ports, "FIRST", 12_000 + os.getpid() % 30 * 300)
    with port_block() as taken, socket.socket() as replica:
        replica.bind(("127.0.0.1", int(taken["RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT"])))
        replica.listen()
        with port_block():
            assert not caplog.text


def test_a_port_that_is_bound_and_not_listened_on_yet_counts() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        assert port_users([port]) == {port: "a program that this user cannot see"}


def test_proxies_find_their_ports_free(listener: socket.socket) -> None:
    check_proxy_ports({})
    with pytest.raises(ConfigError, match=r"which the server needs, is used by .*; stop it"):
        check_proxy_ports({"RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(listener.getsockname()[1])})


def test_no_free_block_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "NUM_BLOCKS", 0)
    with pytest.raises(ConfigError, match="0 blocks of ports from 23000 on are all in use"), port_block():
        pass
