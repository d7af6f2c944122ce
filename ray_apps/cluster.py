"""The Ray cluster: joining one, or starting one of this process that is gone without a trace when the process ends."""

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
"""Environment variable that everything started here inherits: the var folder that it belongs to."""
TOKEN = Path("~/.ray/auth_token")
"""What Ray asks for, which makes it where there is none."""
_REPLICA = "ray::ServeReplica:"
_END_TIMEOUT_S = 10.0
_VITAL = frozenset({ray_constants.PROCESS_TYPE_GCS_SERVER, ray_constants.PROCESS_TYPE_RAYLET})


class ClusterConfig(StrictConfig):
    """A Ray cluster that is started where RAY_ADDRESS names none."""

    object_store_memory_mb: int | None = Field(default=None, ge=80)
    """Shared memory for Ray's objects; null lets Ray take its share of the machine's memory."""
    haproxy: HAProxyConfig = HAProxyConfig()
    """What stands between clients and gateways where this cluster serves."""


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
    # Else control store, node and workers listen on all interfaces. Ray itself does this on macOS and Windows. What it
    # starts reads the environment, and must agree: a dashboard that looks for the node elsewhere waits for ever.
    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # nobody takes this machine away
    memory = config.object_store_memory_mb
    context = ray.init(
        address="local",
        # Two at least: a trainer's worker and its controller must fit on the smallest machine.
        num_cpus=max(2, os.cpu_count() or 1),
        object_store_memory=None if memory is None else memory * 1_000_000,
        include_dashboard=include_dashboard,
        logging_level=logging.ERROR,
        log_to_driver=sys.stderr.isatty(),
    )
    with suppress(FileNotFoundError):  # it may be in the environment instead
        TOKEN.expanduser().chmod(0o600)  # whoever reads it runs programs here; Ray writes it as the umask allows
    return f"http://{context.dashboard_url}"


def calm_libraries() -> None:
    """Progress bars where a person looks on, else only what needs attention; workers' logs are in Ray's log folder."""
    ray.data.DataContext.get_current().enable_progress_bars = sys.stderr.isatty()
    for deduplicator in (ray_logging.stdout_deduplicator, ray_logging.stderr_deduplicator):
        deduplicator.skip_re = re.compile("")  # as RAY_DEDUP_LOGS_SKIP_REGEX, which Ray reads at import; bars pass
    for name, level in (("ray.data", logging.WARNING), ("ray.data._internal.progress", logging.ERROR)):
        logging.getLogger(name).setLevel(level)


@contextmanager
def keeping_ctrl_c() -> Iterator[None]:
    """Undoes what Ray Train does to Ctrl-C: its handler ends the process with status 0, and stays when it is done."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stopped:
        raise KeyboardInterrupt from stopped
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def only_server(var_dir: Path, port: int, what: str) -> Iterator[None]:
    """Makes sure that nobody else serves from a var folder or on a port; what a killed run left behind is ended.

    Args:
        var_dir: the folder.
        port: of 127.0.0.1.
        what: name of this run, told to those who are refused.

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
    """A local cluster with a dashboard, ready for Serve; whatever runs on it ends with the block.

    Must be entered before `ray.serve` is imported: Serve reads its environment at import.

    Args:
        config: sizes of the cluster.
        var_dir: the folder that it works in.
        ports: environment variables of `port_block`, which must be held for as long.

    Yields:
        Address of the dashboard.
    """
    owner = str(var_dir.resolve())
    # Not below the var folder: the path of a socket has to be short.
    with tempfile.TemporaryDirectory(prefix="haproxy-", dir="/tmp") as folder:
        haproxy = fill_folder(Path(folder), config.haproxy)
        os.environ.update(serve_environment({**ports, **haproxy}), **{OWNER: owner})
        try:
            yield start_local(config, include_dashboard=True)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second, impatient Ctrl-C must not leave half of it running
            if not lost_processes():  # else it would wait for them
                end_processes_of(owner, _REPLICA)  # they write their last log lines; Ray would kill them at once
                # Serve's own shutdown drains for half a minute; nobody is left to be served here.
                ray.shutdown()
            end_processes_of(owner)


def lost_processes() -> list[str]:
    """Processes of a local cluster that have ended and that nobody starts again: Ray's head process, its node's."""
    node = ray._private.worker._global_node
    return [] if node is None else sorted({name for name, _ in node.dead_processes()} & _VITAL)


def serve_environment(own: Mapping[str, str]) -> dict[str, str]:
    """What Serve reads from the environment of every Ray process; values that are set already win.

    Args:
        own: what this server has for itself, ports and HAProxy's folder.
    """
    wanted = {
        **own,
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "SERVE_SOCKET_REUSE_PORT_ENABLED": "0",  # else two servers may listen on one port and share its clients
        "RAY_worker_niceness": "0",  # Ray's 15 lets every agent on the machine push the replicas aside
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # the replicas count requests themselves, at less cost
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",  # HAProxy is started anew after three in vain; Ray's 10 are 30
        "FORWARDED_ALLOW_IPS": "none",  # else uvicorn lets whoever comes through HAProxy choose an address
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",  # a busy machine needs more than five seconds to start a proxy
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serving.deployments.middleware:middlewares",
        "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "2",
        "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "2",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.getenv("PYTHONPATH")])]),
    }
    kept = wanted.keys() - {"PYTHONPATH", BINARY}  # these two take what is set into what they want
    return wanted | {name: os.environ[name] for name in kept & os.environ.keys()}


def end_processes_of(owner: str, title: str = "") -> None:
    """Ends every process but this one that was started for a var folder, however it lost its parent.

    Args:
        owner: the folder.
        title: what the command line of those that shall end holds.
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
    """Waits until processes have ended; those that have not in time. A zombie has: its parent has not looked yet."""
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
