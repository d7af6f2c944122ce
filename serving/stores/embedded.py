"""The embedded Redis that runs when no address is set: a server from a wheel, on a Unix socket, append-only file.

One `EmbeddedRedis` owns one data folder. The server ends with its owner's process and is restarted, with backoff, if
it ends alone. Every write is in the append-only file before it is acknowledged, so killing any process loses nothing.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.parse import quote

import redis

from contracts.errors import StoreError
from contracts.files import make_private, private_folder, private_opener, write_atomic
from serving.stores.config import EmbeddedRedisConfig
from serving.stores.embedded_settings import OWNER, server_binary, settings, socket_path
from serving.stores.rewrites import ErasureRewriter

logger = logging.getLogger(__name__)

_LOCK_WAIT_S = 1.5
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.02
_ADMIN_TIMEOUT_S = 1.0
_FIRST_BACKOFF_S = 0.05
_LAST_BACKOFF_S = 5.0
_HEALTHY_AFTER_S = 30.0

# Asks the kernel to kill the server when the thread that started it ends, then becomes the server. It is a process of
# its own because running code between fork and exec is not safe in a process with threads.
_LAUNCHER = """
import ctypes, os, signal, sys
parent = int(sys.argv[1])
os.umask(0o077)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != parent:
    sys.exit("the owner is gone")
os.execv(sys.argv[2], sys.argv[2:])
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
        self._socket = self._folder
        self._password = secrets.token_urlsafe(32)
        self._num_restarts = 0
        self._first_answer = threading.Event()
        self._failure: StoreError | None = None
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def address(self) -> str:
        """unix:// address, percent-encoded; unchanged by restarts of the server."""
        return f"unix://{quote(os.fsencode(self._socket))}"

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
        binary = server_binary()
        private_folder(self._folder)
        self._lock = _lock_folder(self._folder)
        self._socket = socket_path(self._folder)
        write_atomic(self._folder / "redis.conf", settings(self._config, self._socket, self._password))
        make_private(self._folder)
        # The server ends with the thread that starts it, so that thread runs as long as this object lives.
        self._start_thread(self._keep_running, binary)
        self._first_answer.wait()
        if self._failure is not None:
            self.stop()
            raise self._failure
        rewriter = ErasureRewriter(self.admin_client(), self._config.erasure_rewrite_s, self._stopping)
        self._start_thread(rewriter.run)
        return self.address

    def stop(self) -> None:
        """Ends the server, waits for its end, and releases the folder; may be called twice."""
        self._stopping.set()
        if self._process is not None:
            _end(self._process)
        for thread in self._threads:
            thread.join()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def healthy(self) -> bool:
        """Whether the server answers a PING now."""
        return self.pid is not None and self._ping() is None

    def admin_client(self) -> redis.Redis:
        """A client with all permissions, for the owner."""
        return redis.Redis(
            unix_socket_path=str(self._socket),
            username=OWNER,
            password=self._password,
            socket_timeout=_ADMIN_TIMEOUT_S,
            socket_connect_timeout=_ADMIN_TIMEOUT_S,
            retry=None,
        )

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
        # The server inherits the lock: if it outlives its owner, the folder stays locked.
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
            if (unreachable := self._ping()) is None:
                return None
            if time.monotonic() > deadline:
                problem = f"no answer after {self._config.start_timeout_s:g} s: {unreachable}"
                break
            self._stopping.wait(_POLL_S)
        return StoreError(f"the embedded Redis in {self._folder} did not start: {problem}; see redis.log there")

    def _ping(self) -> str | None:
        """The error, or None if the server answers; another server would refuse the owner's password."""
        with self.admin_client() as client:
            try:
                client.ping()
            except redis.RedisError as error:
                return str(error)
        return None

    def _start_thread(self, body: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=body, args=arguments, name="embedded-redis", daemon=True)
        self._threads.append(thread)
        thread.start()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _lock_folder(folder: Path) -> IO[str]:
    """Takes the folder's lock; waits briefly, because the server of a killed owner takes a moment to end."""
    lock = open(folder / "lock", "a+", opener=private_opener)  # noqa: SIM115
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
