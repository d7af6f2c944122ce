"""Ports of one Serve instance.

If two instances on a machine share a port, a proxy may pass its clients to the other's shop.

By default Serve gives the replicas of every instance the same ports, and opens some of them so that two processes may
listen. So each instance takes a block of its own. Blocks are below 32,768, because the kernel gives higher ports to
outgoing connections.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Final

import psutil

from contracts.errors import ConfigError

FIRST: Final = 23_000
SIZE: Final = 150
NUM_BLOCKS: Final = 60
_PROXY_PORTS: Final = (
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
    "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
)
"""Ports of the proxies, from the second port of a block on; replicas try the next port if theirs is in use."""
_FIRST_REPLICA: Final = 10
_REPLICAS: Final = 70
_UNSEEN: Final = "a program that this user cannot see"
_log = logging.getLogger(__name__)


@contextmanager
def port_block() -> Iterator[dict[str, str]]:
    """Reserves an unused block of ports while the `with` block runs; the kernel frees it if the process dies.

    The process that binds a block's first port owns it, so two that start at the same time get different ones. A block
    with a listening program is skipped and the program is named: a killed instance may have left it running.

    Yields:
        Environment variables that tell Serve its ports.

    Raises:
        ConfigError: all blocks are taken.
    """
    for first in range(FIRST, FIRST + NUM_BLOCKS * SIZE, SIZE):
        with _bind(first, exclusive=True) or nullcontext() as owner:
            listeners = _listeners()
            users = {port: name for port, name in listeners.items() if first <= port < first + SIZE}
            if owner is not None and not users:
                users = port_users(range(first + 1, first + SIZE))
                if not users:
                    yield block_environment(first)
                    return
        if owner is not None or first in users:  # otherwise the block belongs to another server
            port, last = min(users), first + SIZE - 1
            _log.warning("port %d is used by %s; ports %d to %d are skipped", port, users[port], first, last)
    raise ConfigError(f"{NUM_BLOCKS} blocks of ports from {FIRST} on are all in use; stop servers that nobody needs")


def block_environment(first: int) -> dict[str, str]:
    """The environment variables that tell Serve the ports of a block.

    Args:
        first: port of the block.
    """
    http = first + _FIRST_REPLICA
    grpc = http + _REPLICAS
    replicas = {
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": http,
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": grpc,
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": grpc,
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": first + SIZE,
    }
    proxies = {name: first + place for place, name in enumerate(_PROXY_PORTS, start=1)}
    return {name: str(port) for name, port in (proxies | replicas).items()}


def check_proxy_ports(environment: Mapping[str, str]) -> None:
    """Raises ConfigError if somebody listens on a port that Serve's proxies are about to take."""
    for port, user in port_users([int(environment[name]) for name in _PROXY_PORTS if name in environment]).items():
        raise ConfigError(f"port {port}, which the server needs, is used by {user}; stop it, or start the server again")


def free_port(first: int) -> int:
    """The first free port from `first` on; another program may take it before it is used.

    Raises:
        ConfigError: a hundred ports are in use.
    """
    ports = range(first, first + 100)
    used = port_users(ports)
    for port in ports:
        if port not in used:
            return port
    raise ConfigError(f"ports {first} to {first + 99} are all in use; stop what listens there")


def check_port(port: int) -> None:
    """Raises ConfigError if somebody listens on the port."""
    for user in port_users([port]).values():
        raise ConfigError(f"port {port} is in use by {user}; stop what listens there or choose another, PORT=8001")


def port_users(ports: Iterable[int]) -> dict[int, str]:
    """Programs that listen on ports at any address: port → name and number of the process, if visible."""
    listeners = _listeners()
    return {port: listeners.get(port, _UNSEEN) for port in ports if port in listeners or not _can_be_bound(port)}


def _listeners() -> dict[int, str]:
    connections = psutil.net_connections("tcp")
    return {one.laddr.port: _name(one.pid) for one in connections if one.laddr and one.status == psutil.CONN_LISTEN}


def _name(pid: int | None) -> str:
    with suppress(psutil.Error):
        if pid is not None:
            return f"{psutil.Process(pid).name()} (process {pid})"
    return _UNSEEN


def _can_be_bound(port: int) -> bool:
    """Also finds programs that have bound a port and do not listen yet."""
    probe = _bind(port, exclusive=False)
    if probe is not None:
        probe.close()
    return probe is not None


def _bind(port: int, *, exclusive: bool) -> socket.socket | None:
    """A socket bound to a port of all interfaces; None if a program listens there or (`exclusive`) has bound it."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0 if exclusive else 1)
    try:
        bound.bind(("0.0.0.0", port))
    except OSError:
        bound.close()
        return None
    return bound
