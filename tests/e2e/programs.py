"""Starting the programs as a person would, and looking for what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from ray_apps.cluster import OWNER

ROOT = Path(__file__).resolve().parents[2]
READY_TIMEOUT_S = 400.0
STOP_TIMEOUT_S = 60.0
FIRST_PORT = 20_000 + os.getpid() % 2_900


def user_environment() -> dict[str, str]:
    """The environment without what the tests set for the Ray of their own process."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


class Program:
    """A running program whose output is read line by line."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a process group of its own, as a terminal gives it
            env=user_environment(),
        )
        self.lines: list[str] = []

    def read_until(self, start: str) -> str:
        """The first line that starts so; fails when the program ends or is silent for too long."""
        guard = threading.Timer(READY_TIMEOUT_S, self.process.kill)
        guard.start()
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith(start):
                guard.cancel()
                return self.lines[-1]
        guard.cancel()
        raise AssertionError(f"no line {start!r}; status {self.process.wait()}:\n{self.output}")

    def finish(self) -> int:
        """Reads to the end; the exit status."""
        assert self.process.stdout is not None
        if not self.process.stdout.closed:
            self.lines += self.process.stdout.read().splitlines()
        return self.process.wait(STOP_TIMEOUT_S)

    def interrupt(self) -> int:
        """Ctrl-C: the whole process group gets SIGINT; the exit status."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.finish()

    def close(self) -> None:
        """Closes the pipe."""
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)


@contextmanager
def running(*arguments: str) -> Iterator[Program]:
    """A program that is killed at the end if it still runs."""
    program = Program(*arguments)
    try:
        yield program
    finally:
        if program.process.poll() is None:
            program.process.kill()
        program.finish()
        program.close()


def processes_of(var_dir: Path, title: str = "") -> list[psutil.Process]:
    """What runs for a var folder and has the title in its command line or, where there is none, its name."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = " ".join(process.cmdline()) or process.name()
            if title in command and process.environ().get(OWNER) == str(var_dir):
                found.append(process)
    return found


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """The JSON answer to a JSON request."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))


def get(url: str, token: str | None = None) -> Any:
    """The JSON answer to a GET."""
    with _open(url, token) as answer:
        return json.load(answer)


def put(url: str, body: Any, token: str) -> None:
    """Sends JSON and expects success."""
    with _open(url, token, data=json.dumps(body).encode(), method="PUT"):
        pass


def dashboard_token() -> str:
    """What the dashboard of a local cluster asks for; Ray makes one for each user."""
    return (Path.home() / ".ray" / "auth_token").read_text().strip()


def _open(url: str, token: str | None, **request: Any) -> Any:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers, **request), timeout=30)
