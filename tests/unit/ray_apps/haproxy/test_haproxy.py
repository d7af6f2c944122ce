"""The real HAProxy behind the launcher; the gateway answers with the first line of a request and the addresses told."""

from __future__ import annotations

import http.client
import json
import os
import resource
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ray_apps.haproxy.config import HAProxyConfig
from ray_apps.haproxy.folder import BINARY, fill_folder
from ray_apps.ports import free_port

FIRST_PORT = 18_000 + os.getpid() % 1_900
MANY = 5_000
PATIENCE_S = 60.0
WRITE = """
import sys
from pathlib import Path
from ray_apps.haproxy.check import write_sample
print(write_sample(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) or None))
"""


class Gateway(BaseHTTPRequestHandler):
    """Answers like a gateway that is alive."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = " ".join([self.requestline, *self.headers.get_all("X-Forwarded-For", [])]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def gateway() -> Iterator[int]:
    """A gateway in threads of the test; its port."""
    with Server(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextmanager
def haproxy(folder: Path, config: HAProxyConfig, gateway_port: int, **environment: str) -> Iterator[int]:
    """HAProxy as Serve would start it, for no application if the gateway's port is 0; the port for clients."""
    port = free_port(FIRST_PORT)
    own = {
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port(port + 1)),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port(port + 101)),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    }
    settings = {**os.environ, **fill_folder(folder, config), **own, **environment}
    arguments = [sys.executable, "-c", WRITE, str(folder), str(port), str(gateway_port)]
    path = subprocess.run(arguments, env=settings, capture_output=True, text=True, check=True).stdout.strip()
    with subprocess.Popen([settings[BINARY], "-db", "-f", path, "-dR"], stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: connects(port))
            yield port
        finally:
            process.kill()


def wait_for(come: object) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not come():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.05)


def connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def ask(port: int, path: str = "/v1/status", source: str = "127.0.0.1", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S, source_address=(source, 0))
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def connect(port: int, sent: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
    """A connection on which so much has been sent."""
    client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S, source_address=(source, 0))
    if sent:
        client.sendall(sent)
    return client


def closed(client: socket.socket) -> bool:
    """Waits for the other side to close a connection, whatever it says before."""
    try:
        while client.recv(4096):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def refused(port: int, source: str) -> bool:
    """Whether a connection is closed unread; that may be known as soon as it is made."""
    try:
        with connect(port, source=source) as client:
            return closed(client)
    except ConnectionResetError:
        return True


HALF = (
    b"",
    b"GET /v1/users/secret HTTP/1.1\r\nHost: a\r\nX-",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{",
)


@pytest.mark.slow
def test_connections_that_say_nothing_or_half_leave_the_api_answering(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < MANY + 1_000:
        pytest.skip(f"{hard} open files are allowed, {MANY + 1_000} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with (
            gateway() as port_behind,
            haproxy(folder, HAProxyConfig(head_timeout_s=30), port_behind) as port,
            ExitStack() as stack,
        ):
            wait_for(lambda: ask(port)[0] == 200)
            for number in range(MANY):
                stack.enter_context(connect(port, HALF[number % len(HALF)]))
                if number % 500 == 0:
                    assert ask(port)[0] == 200
            assert [ask(port)[0] for _ in range(20)] == [200] * 20
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_that_say_nothing_or_half_are_closed(folder: Path) -> None:
    config = HAProxyConfig(head_timeout_s=1, idle_timeout_s=1)
    whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    with gateway() as port_behind, haproxy(folder, config, port_behind) as port, ExitStack() as stack:
        clients = [stack.enter_context(connect(port, sent)) for sent in (*HALF, whole)]
        assert all(closed(client) for client in clients)


def test_one_address_may_not_take_all_connections(folder: Path) -> None:
    config = HAProxyConfig(connections_per_address=3, proxies=("127.0.0.9",))
    with gateway() as port_behind, haproxy(folder, config, port_behind) as port, ExitStack() as stack:
        wait_for(lambda: ask(port, source="127.0.0.9")[0] == 200)
        held = [stack.enter_context(connect(port, source="127.0.0.2")) for _ in range(3)]
        assert refused(port, source="127.0.0.2")
        assert ask(port, source="127.0.0.3")[0] == 200
        for _ in range(5):
            stack.enter_context(connect(port, source="127.0.0.9"))
        assert ask(port, source="127.0.0.9")[0] == 200
        held[0].close()
        wait_for(lambda: answers(port, "127.0.0.2"))


def test_the_gateway_is_told_who_connects_after_whatever_the_client_says(folder: Path) -> None:
    with gateway() as port_behind, haproxy(folder, HAProxyConfig(), port_behind) as port:
        wait_for(lambda: ask(port)[0] == 200)
        _, body = ask(port, "/a", "127.0.0.3", X_Forwarded_For="6.6.6.6")
        assert body == b"GET /a HTTP/1.1 6.6.6.6 127.0.0.3"


def answers(port: int, source: str) -> bool:
    try:
        return ask(port, source=source)[0] == 200
    except OSError:
        return False


def test_no_path_reaches_the_log(folder: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as syslog, gateway() as port_behind:
        syslog.bind(("127.0.0.1", 0))
        syslog.setblocking(False)
        target = f"127.0.0.1:{syslog.getsockname()[1]}"
        config = HAProxyConfig(head_timeout_s=1)
        with haproxy(folder, config, port_behind, RAY_SERVE_HAPROXY_LOG_TARGET=target) as port:
            wait_for(lambda: ask(port)[0] == 200)
            assert ask(port, "/v1/users/secret/data")[0] == 200
            wrong = b"GET /v1/users/secret HTTP/9.9\r\n\r\n"
            with ExitStack() as stack:
                clients = [stack.enter_context(connect(port, sent)) for sent in (*HALF, wrong)]
                assert all(closed(client) for client in clients)
        lines = []
        while True:
            try:
                lines.append(syslog.recv(65_536))
            except BlockingIOError:
                break
    assert lines  # of the start and of what is wrong
    assert not [line for line in lines if b"secret" in line]


def test_without_a_gateway_the_answer_is_503_in_the_shape_of_errors(folder: Path) -> None:
    with socket.socket() as nobody, haproxy(folder, HAProxyConfig(), _bound(nobody)) as port:
        status, body = ask(port)
        assert (status, json.loads(body)["error"]["code"]) == (503, "unavailable")
        assert stat.S_IMODE((folder / "admin.sock").stat().st_mode) == 0o600


def test_before_serve_has_told_it_of_gateways_the_answer_is_503(folder: Path) -> None:
    with haproxy(folder, HAProxyConfig(), 0) as port:
        for path in ("/v1/users/u1", "/v1/items"):
            status, body = ask(port, path)
            assert (status, json.loads(body)["error"]["code"]) == (503, "unavailable")


def _bound(nobody: socket.socket) -> int:
    """A port on which nobody listens."""
    nobody.bind(("127.0.0.1", 0))
    return int(nobody.getsockname()[1])
