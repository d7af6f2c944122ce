"""The measured systems: each is a process that is started, loaded and stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.load import Target, http_request, parse_answer
from benchmarks.peers.triton.spec import ENSEMBLE, REQUEST
from benchmarks.shop import ROOT, Shop
from contracts.config import merge
from ray_apps.cluster import end_processes_of
from ray_apps.ports import free_port
from ray_apps.server import CONFIGS

SERVE_FOLDER: Final = ROOT / "var" / "benchmarks" / "serve"
"""Marks processes of our server: they have it in their environment."""
Ranked = list[tuple[str, float]]
"""Item ids and scores, best first."""
_START_TIMEOUT_S: Final = 300.0
_STOP_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.2
_FIRST_PORT: Final = 8_030
_ATTEMPTS: Final = 5
_LOG_SHOWN: Final = 3_000
READY: Final = "READY"
"""Every process of a system writes this when it serves."""
SAME_SCORE: Final = 1e-5


@dataclass(frozen=True)
class System:
    """A server to start.

    Attributes:
        name: prefix of its figures.
        command: arguments of the Python interpreter; `{port}` and `{settings}` are filled in.
        settings: serving settings laid over the shop's.
        environment: variables laid over ours.
        num_ready: processes that each write `READY` to the log when they serve.
    """

    name: str
    command: Sequence[str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    num_ready: int = 1

    def target(self, shop: Shop, port: int) -> Target:
        """Target of the load generator."""
        return Target(port, shop.http_requests())

    def ranked(self, body: bytes) -> Ranked:
        """The recommended items of an answer."""
        return [(item["item_id"], item["score"]) for item in json.loads(body)["recommendations"]]

    def arguments(self, shop: Shop, port: int) -> list[str]:
        """The whole command."""
        settings = json.dumps(merge(shop.values, self.settings))
        return [sys.executable, *(part.format(port=port, settings=settings) for part in self.command)]


def placement(name: str, replicas: int, *, with_empty: bool = False, folder: Path = CONFIGS) -> System:
    """Our server, by placement; optionally with a deployment that does nothing."""
    config = str(folder / f"{name}.yaml")
    module = ["-m", "benchmarks.peers.ray_serve", "--config", config, "--replicas", str(replicas)]
    command = [*module, "--port", "{port}", "--var", str(SERVE_FOLDER), "--settings", "{settings}"]
    return System(name, [*command, "--with-empty"] if with_empty else command)


def per_model() -> System:
    """Each of the reference's fourteen models in a deployment of its own."""
    return placement("per_model", 1, folder=ROOT / "benchmarks" / "peers" / "per_model")


def uvicorn(kind: str, workers: int, *, items: str = "memory") -> System:
    """A peer on uvicorn; `items` says where item features come from, `memory` or `feast`."""
    module = ["-m", "benchmarks.peers.http", "--kind", kind, "--workers", str(workers), "--items", items]
    return System(f"{kind}_{workers}", [*module, "--port", "{port}", "--settings", "{settings}"], num_ready=workers)


class TritonSystem(System):
    """The Triton ensemble: its own protocol, item ids and scores as tensors."""

    def target(self, shop: Shop, port: int) -> Target:
        path = f"/v2/models/{ENSEMBLE}/infer"
        bodies = [json.dumps({"inputs": _triton_inputs(asked)}).encode() for asked in shop.asked]
        return Target(port, [http_request(path, body) for body in bodies], whole=b'"item_id"')

    def ranked(self, body: bytes) -> Ranked:
        columns = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
        return list(zip(columns["item_id"], columns["score"], strict=True))


def triton_variants() -> list[System]:
    """Dynamic batching off or on, one or two instances of every model; the best of them is Triton's figure."""
    module = ["-m", "benchmarks.peers.triton.server", "--port", "{port}", "--settings", "{settings}"]
    return [
        TritonSystem(f"triton_{kind}_{count}", [*module, "--instances", str(count), *flag])
        for kind, flag in (("plain", []), ("batching", ["--batching"]))
        for count in (1, 2)
    ]


def _triton_inputs(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    empty = {"BYTES": "", "INT64": 0, "INT32": 0}
    return [
        {"name": name, "shape": [1, 1], "datatype": dtype, "data": [asked.get(name, empty[dtype])]}
        for name, (dtype, _) in REQUEST.items()
    ]


@contextmanager
def running(system: System, shop: Shop) -> Iterator[Target]:
    """Starts a system, and stops it with everything that it has started.

    Raises:
        RuntimeError: it ended or was not ready in time; the end of its log is in the message.
    """
    end_processes_of(str(SERVE_FOLDER))  # processes of a killed run might answer on a port of this one
    port = free_port(_FIRST_PORT)
    log = ROOT / "var" / "benchmarks" / "logs" / f"{system.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | dict(system.environment)
    with log.open("wb") as output:
        process = subprocess.Popen(
            system.arguments(shop, port),
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_until_ready(process, system, lambda: log.read_text(errors="replace"))
            yield system.target(shop, port)
        finally:
            _stop(process)


def ask(target: Target, number: int) -> bytes:
    """The body of the answer to one request; a degraded answer is requested again.

    Raises:
        RuntimeError: the answer is not a complete 200.
    """
    for _ in range(_ATTEMPTS):
        status, body = _ask_once(target, number)
        if status != 200 or target.whole in body:
            break
    if status != 200 or target.whole not in body:
        raise RuntimeError(f"request {number} to port {target.port} got {status}: {body[:500]!r}")
    return body


def _ask_once(target: Target, number: int) -> tuple[int, bytes]:
    with socket.create_connection(("127.0.0.1", target.port), timeout=30) as connection:
        connection.sendall(target.requests[number])
        data = b""
        while (answer := parse_answer(data)) is None:
            received = connection.recv(65_536)
            if not received:
                raise RuntimeError(f"request {number} to port {target.port}: the connection ended after {data!r}")
            data += received
    return answer


def differences(got: Sequence[Ranked], expected: Sequence[Ranked]) -> list[str]:
    """Differences beyond rounding: scores by more than `SAME_SCORE`, or other items with scores farther apart."""
    found = []
    for number, (mine, theirs) in enumerate(zip(got, expected, strict=True)):
        if len(mine) != len(theirs):
            found.append(f"request {number}: {len(mine)} items instead of {len(theirs)}")
            continue
        for place, ((item, score), (other, wanted)) in enumerate(zip(mine, theirs, strict=True)):
            if abs(score - wanted) > SAME_SCORE:
                found.append(f"request {number}, place {place}: score {score} instead of {wanted}")
            elif item != other and item not in {name for name, near in theirs if abs(near - score) <= SAME_SCORE}:
                found.append(f"request {number}, place {place}: {item} instead of {other}")
    return found


def _wait_until_ready(process: subprocess.Popen[bytes], system: System, log: Callable[[], str]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{system.name} ended with status {process.returncode}: {log()[-_LOG_SHOWN:]}")
        if log().count(READY) >= system.num_ready:
            return
        time.sleep(_POLL_S)
    raise RuntimeError(f"{system.name} was not ready within {_START_TIMEOUT_S:.0f} s: {log()[-_LOG_SHOWN:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
