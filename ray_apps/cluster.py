"""The Ray cluster: joins one, or starts one that ends with this process."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import ray
import ray.data
from pydantic import Field
from ray._private import ray_constants, ray_logging

from contracts.config import StrictConfig
from ray_apps.haproxy.config import HAProxyConfig
from ray_apps.haproxy.folder import BINARY, fill_folder
from ray_apps.lock import SERVER_LOCK, folder_lock
from ray_apps.ports import check_port

OWNER = "RECOMMENDER_VAR"
"""Environment variable that every started process inherits; names the var folder that it works for."""
TOKEN = Path("~/.ray/auth_token")
"""Ray's token of authentication; Ray creates it if it is missing."""
_REPLICA = "ray::ServeReplica:"
_END_TIMEOUT_S = 10.0
_VITAL = frozenset({ray_constants.PROCESS_TYPE_GCS_SERVER, ray_constants.PROCESS_TYPE_RAYLET})


class ClusterConfig(StrictConfig):
    """The local Ray cluster; used if RAY_ADDRESS is not set."""

    object_store_memory_mb: int | None = Field(default=None, ge=80)
    """Shared memory for Ray's objects; null lets Ray take its share of the machine's memory."""
    haproxy: HAProxyConfig = HAProxyConfig()
    """The proxy between clients and gateways, if this cluster serves."""


def connect(config: ClusterConfig) -> None:
    """Joins the cluster that RAY_ADDRESS names (so does a job under `ray job submit`), else starts a local one."""
    if ray.is_initialized():
        return
    if os.environ.get("RAY_ADDRESS"):
        calm_libraries()
        ray.init(logging_level=logging.ERROR, log_to_driver=sys.stderr.isatty())
    else:
        start_local(config, include_dashboard=False)


def start_local(config: ClusterConfig, *, include_dashboard: bool) -> str:
    """Starts a cluster of this process, on loopback alone; returns the address of its dashboard."""
    calm_libraries()
    # Without this, control store, node and workers listen on all interfaces. Ray sets it itself on macOS and Windows.
    # The processes that Ray starts read it from the environment: if they disagree, the dashboard waits for ever.
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # nobody takes this machine away
    memory = config.object_store_memory_mb
    context = ray.init(
        address="local",
        # At least two: a trainer's worker and its controller must fit on the smallest machine.
        num_cpus=max(2, os.cpu_count() or 1),
        object_store_memory=None if memory is None else memory * 1_000_000,
        include_dashboard=include_dashboard,
        logging_level=logging.ERROR,
        log_to_driver=sys.stderr.isatty(),
    )
    with suppress(FileNotFoundError):  # the token may be in the environment instead
        TOKEN.expanduser().chmod(0o600)  # its reader may run programs here; Ray writes it with the default mode
    return f"http://{context.dashboard_url}"


def calm_libraries() -> None:
    """Shows progress bars on a terminal, otherwise only warnings and errors; workers log to Ray's log folder."""
    ray.data.DataContext.get_current().enable_progress_bars = sys.stderr.isatty()
    for deduplicator in (ray_logging.stdout_deduplicator, ray_logging.stderr_deduplicator):
        deduplicator.skip_re = re.compile("")  # lets progress bars through; Ray reads its variable at import
    for name, level in (("ray.data", logging.WARNING), ("ray.data._internal.progress", logging.ERROR)):
        logging.getLogger(name).setLevel(level)


@contextmanager
def keeping_ctrl_c() -> Iterator[None]:
    """Restores Ctrl-C: Ray Train's handler exits with status 0, and stays installed after training."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stopped:
        raise KeyboardInterrupt from stopped
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def only_server(var_dir: Path, port: int, what: str) -> Iterator[None]:
    """Makes sure that no other server uses a var folder or a port; ends the processes that a killed run left behind.

    Args:
        var_dir: the folder.
        port: of 127.0.0.1.
        what: name of this run, for the error of a second server.

    Raises:
        LockedError: another server works in the folder.
        ConfigError: the port is in use.
    """
    with folder_lock(var_dir / SERVER_LOCK, what):
        end_processes_of(str(var_dir.resolve()))
        check_port(port)
        yield


@contextmanager
def serving_cluster(config: ClusterConfig, var_dir: Path, ports: Mapping[str, str]) -> Iterator[str]:
    """A local cluster with a dashboard, ready for Serve; its processes end with the block.

    Must be entered before `ray.serve` is imported: Serve reads its environment at import.

    Args:
        config: sizes of the cluster.
        var_dir: the folder that it works in.
        ports: environment variables from a `port_block` that stays open as long as the cluster.

    Yields:
        Address of the dashboard.
    """
    owner = str(var_dir.resolve())
    # Not below the var folder: the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="haproxy-", dir="/tmp") as folder:
        haproxy = fill_folder(Path(folder), config.haproxy)
        os.environ.update(serve_environment({**ports, **haproxy}), **{OWNER: owner})
        try:
            yield start_local(config, include_dashboard=True)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the shutdown
            if not lost_processes():  # otherwise the shutdown would wait for them
                end_processes_of(owner, _REPLICA)  # replicas may log their last lines; Ray would kill them at once
                # Serve's own shutdown waits half a minute for open requests; there are none here.
                ray.shutdown()
            end_processes_of(owner)


def lost_processes() -> list[str]:
    """Names of processes of a local cluster that ended and are not restarted: Ray's control store and raylet."""
    node = ray._private.worker._global_node
    return [] if node is None else sorted({name for name, _ in node.dead_processes()} & _VITAL)


def serve_environment(own: Mapping[str, str]) -> dict[str, str]:
    """Environment variables that Serve reads in every Ray process; values that are already set win.

    Args:
        own: variables of this server: its ports and HAProxy's folder.
    """
    wanted = {
        **own,
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "SERVE_SOCKET_REUSE_PORT_ENABLED": "0",  # otherwise two servers may listen on one port and share its clients
        "RAY_worker_niceness": "0",  # with Ray's 15, other processes of the machine slow the replicas down
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # the replicas count requests at less cost
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",  # HAProxy is restarted after three failed checks
        "FORWARDED_ALLOW_IPS": "none",  # otherwise uvicorn believes the address that a client sends
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",  # a busy machine needs more than five seconds to start a proxy
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serving.deployments.middleware:middlewares",
        "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "2",
        "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "2",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.getenv("PYTHONPATH")])]),
    }
    kept = wanted.keys() - {"PYTHONPATH", BINARY}  # these two already include the value that is set
    return wanted | {name: os.environ[name] for name in kept & os.environ.keys()}


def end_processes_of(owner: str, title: str = "") -> None:
    """Ends every other process that was started for a var folder, even if its parent is gone.

    Args:
        owner: the folder.
        title: text that their command line must contain.
    """
    found = [process for process in psutil.process_iter() if process.pid != os.getpid() and _is(process, owner, title)]
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in _wait(found):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _wait(found)


def _wait(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Waits until processes end; returns those that did not end in time. A zombie counts as ended."""
    deadline = time.monotonic() + _END_TIMEOUT_S
    while (alive := [process for process in processes if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is(process: psutil.Process, owner: str, title: str) -> bool:
    try:
        return process.environ().get(OWNER) == owner and title in " ".join(process.cmdline())
    except (psutil.Error, OSError):
        return False
