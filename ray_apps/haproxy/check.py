"""Checks before the start that the rules fit the HAProxy configuration that Ray writes."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions

from contracts.errors import ConfigError
from ray_apps.haproxy.folder import BINARY


def check_haproxy() -> None:
    """Completes a configuration that Ray writes, and lets HAProxy check it; starts nothing.

    Raises:
        ConfigError: the rules do not fit Ray's configuration, or HAProxy refuses it or does not start.
    """
    launcher = os.environ.get(BINARY)
    if launcher is None:  # Serve uses its Python proxies, or Ray's own HAProxy
        return
    with tempfile.TemporaryDirectory(prefix="haproxy-check-") as folder:
        path = write_sample(Path(folder))
        try:
            done = subprocess.run([launcher, "-c", "-f", str(path)], capture_output=True, text=True, check=False)
        except OSError as error:
            raise ConfigError(f"{launcher} ({BINARY}) does not start: {error}") from error
    if done.returncode != 0:
        raise ConfigError(f"{launcher} cannot serve: {(done.stderr or done.stdout).strip()}")


def write_sample(folder: Path, port: int = 1, gateway_port: int | None = 2) -> Path:
    """Writes, as Ray does, the configuration of an application with one gateway and a fallback.

    Args:
        folder: where the files that it names are.
        port: for clients.
        gateway_port: of gateway and fallback; None = no application is deployed yet.

    Returns:
        Path of the configuration.
    """
    backends = {}
    if gateway_port is not None:
        gateway = ServerConfig("gateway", "127.0.0.1", gateway_port)
        fallback = ServerConfig("fallback", "127.0.0.1", gateway_port)
        backends["http-app"] = BackendConfig(
            "http-app", "/", servers=[gateway], fallback_server=fallback, app_name="app"
        )
    config = HAProxyConfig(
        socket_path=str(folder / "admin.sock"),
        server_state_base=str(folder),
        server_state_file=str(folder / "server-state"),
        http_options=HTTPOptions(host="127.0.0.1", port=port),
        has_received_routes=True,
        has_received_servers=True,
    )
    path = folder / "haproxy.cfg"
    HAProxyApi(config, backends, str(path))._generate_config_file_internal()
    return path
