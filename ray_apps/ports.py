"""Ports of one Serve instance: two on a machine must never share one, or a proxy hands its clients to the other's shop.

Serve hands the same ports to the replicas of every instance, and opens them so that two processes may listen on one.
So each instance takes a block of its own. Blocks lie below 32,768: ports from there on are lent to outgoing
connections and may be gone when they are needed.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from contracts.errors import ConfigError

FIRST: Final = 23_000
SIZE: Final = 150
NUM_BLOCKS: Final = 60
_FIRST_REPLICA: Final = 10
_REPLICAS: Final = 70


@contextmanager
def port_block() -> Iterator[dict[str, str]]:
    """Takes a block that nobody uses for as long as the `with` block runs; the kernel frees it if the process dies.

    Whoever has bound a block's first port owns it, so two that start at the same time get different ones. A block in
    which somebody listens is passed over: a killed instance may have left something running.

    Yields:
        Environment variables that tell Serve its ports.

    Raises:
        ConfigError: all blocks are taken.
    """
    with ExitStack() as stack:
        for first in range(FIRST, FIRST + NUM_BLOCKS * SIZE, SIZE):
            owner = _bind(first, exclusive=True)
            if owner is not None:
                stack.enter_context(owner)
                if all(is_free(port) for port in range(first + 1, first + SIZE)):
                    yield _environment(first)
                    return
        raise ConfigError(
            f"{NUM_BLOCKS} blocks of ports from {FIRST} on are all in use; stop servers that nobody needs"
        )


def _environment(first: int) -> dict[str, str]:
    http = first + _FIRST_REPLICA
    grpc = http + _REPLICAS
    ports = {
        "HAPROXY_STATS_PORT": first + 1,
        "HAPROXY_METRICS_PORT": first + 2,
        "DIRECT_INGRESS_MIN_HTTP_PORT": http,
        "DIRECT_INGRESS_MAX_HTTP_PORT": grpc,
        "DIRECT_INGRESS_MIN_GRPC_PORT": grpc,
        "DIRECT_INGRESS_MAX_GRPC_PORT": first + SIZE,
    }
    return {f"RAY_SERVE_{name}": str(port) for name, port in ports.items()}


def free_port(first: int) -> int:
    """The first port from `first` on that nobody listens on; somebody may take it before it is used.

    Raises:
        ConfigError: a hundred ports are in use.
    """
    for port in range(first, first + 100):
        if is_free(port):
            return port
    raise ConfigError(f"ports {first} to {first + 99} are all in use; stop what listens there")


def is_free(port: int) -> bool:
    """Whether nobody listens on a port."""
    probe = _bind(port, exclusive=False)
    if probe is not None:
        probe.close()
    return probe is not None


def check_port(port: int) -> None:
    """Raises ConfigError if somebody listens on the port."""
    if not is_free(port):
        raise ConfigError(f"port {port} is in use; stop what listens there or choose another, PORT=8001")


def _bind(port: int, *, exclusive: bool) -> socket.socket | None:
    """A socket bound to a port of all interfaces; None if somebody listens there or, `exclusive`, has bound it."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0 if exclusive else 1)
    try:
        bound.bind(("0.0.0.0", port))
    except OSError:
        bound.close()
        return None
    return bound
