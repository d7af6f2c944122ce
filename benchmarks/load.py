"""A load generator for one HTTP/1.1 address; it is cheap, because it shares the cores with the measured system.

It writes prepared bytes to persistent connections, one request at a time on each. In an open loop, requests arrive as a
Poisson process, independent of the server, and latencies count from the planned arrival (Tene, "How NOT to measure
latency", 2013). In a closed loop, each client sends its next request after its answer.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

import numpy as np
import uvloop

from contracts.ids import AnyArray

MAX_CONNECTIONS: Final = 1_024
DRAIN_S: Final = 5.0
_SHED: Final = 429


@dataclass(frozen=True)
class Target:
    """Requests to a server.

    Attributes:
        port: on 127.0.0.1.
        requests: whole HTTP requests, head and body; taken in turn, again and again.
        whole: bytes that an answer must contain to count: an empty list of degraded parts.
        status: of answers that count.
    """

    port: int
    requests: Sequence[bytes]
    whole: bytes = b'"degraded":[]'
    status: int = 200


def http_request(path: str, body: bytes) -> bytes:
    """The bytes of a POST with a JSON body."""
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


@dataclass
class Outcome:
    """Result of a load.

    Attributes:
        seconds: from the first planned request to the end.
        latencies_ms: of the good answers, in the order of arrival.
        num_shed: requests refused with 429; not timed.
        errors: answers that do not count, and lost connections, by kind.
    """

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    num_shed: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def num_errors(self) -> int:
        return self.errors.total()

    @property
    def rps(self) -> float:
        """Good answers per second."""
        return len(self.latencies_ms) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """The smallest latency that `percent` of the good answers do not exceed (nearest rank)."""
        if not self.latencies_ms:
            raise ValueError(
                f"no good answer to take a percentile of; {self.num_shed} shed, errors {dict(self.errors)}"
            )
        return float(np.percentile(self.latencies_ms, percent, method="inverted_cdf"))

    def count(self, status: int, body: bytes, latency_s: float, target: Target) -> None:
        """Adds an answer."""
        if status == _SHED:
            self.num_shed += 1
        elif status != target.status:
            self.errors[f"status {status}"] += 1
        elif target.whole not in body:
            self.errors["degraded"] += 1
        else:
            self.latencies_ms.append(1000 * latency_s)


def poisson_arrivals(rate: float, seconds: float, seed: int) -> AnyArray:
    """Arrival times within [0, seconds) of a Poisson process of `rate` a second, ascending."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1 / rate, int(rate * seconds + 10 * (rate * seconds) ** 0.5 + 10)))
    return times[times < seconds]


def closed_loop(target: Target, num_clients: int, seconds: float) -> Outcome:
    """Clients that each wait for their answer before the next request."""
    return _run(_closed_loop(target, num_clients, seconds))


def open_loop(target: Target, arrivals: AnyArray) -> Outcome:
    """Requests at given seconds, each on a connection that no other request uses meanwhile."""
    return _run(_open_loop(target, arrivals))


class Connection(asyncio.Protocol):
    """A persistent connection; calls back when an answer is complete.

    Args:
        answered: called with the connection, status and body.
        lost: called when the connection ends, with whether an answer was still due.
    """

    def __init__(
        self, answered: Callable[[Connection, int, bytes], None], lost: Callable[[Connection, bool], None]
    ) -> None:
        self._answered = answered
        self._lost = lost
        self._data = b""
        self.busy = False
        self.since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        busy, self.busy = self.busy, False
        self._lost(self, busy)

    def send(self, request: bytes, since: float) -> None:
        """Sends a request that was planned for a `time.perf_counter` second."""
        self.busy, self.since = True, since
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data
        answer = parse_answer(self._data)
        if answer is not None:
            self._data, self.busy = b"", False
            self._answered(self, *answer)


def parse_answer(data: bytes) -> tuple[int, bytes] | None:
    """Status and body of an answer; None while it is not complete.

    Raises:
        ValueError: the answer has no content-length.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end].lower()
    start = head.find(b"\r\ncontent-length:")
    if start < 0:
        raise ValueError(f"the answer's head has no content-length: {data[:end]!r}")
    line_end = head.find(b"\r\n", start + 2)
    length = int(head[start + 17 : line_end if line_end > 0 else end])
    if len(data) < end + 4 + length:
        return None
    return int(data[9:12]), data[end + 4 :]


def _run(load: Coroutine[Any, Any, Outcome]) -> Outcome:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load)


async def _connect(target: Target, answered: Callable[..., None], lost: Callable[..., None]) -> Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: Connection(answered, lost), "127.0.0.1", target.port)
    return connection


async def _closed_loop(target: Target, num_clients: int, seconds: float) -> Outcome:
    outcome, requests = Outcome(), itertools.cycle(target.requests)
    finished = asyncio.Event()
    alive: set[Connection] = set()

    def leave(connection: Connection) -> None:
        alive.discard(connection)
        if not alive:
            finished.set()

    def lost(connection: Connection, busy: bool) -> None:
        if busy:
            outcome.errors["connection lost"] += 1
        leave(connection)

    def answered(connection: Connection, status: int, body: bytes) -> None:
        now = time.perf_counter()
        outcome.count(status, body, now - connection.since, target)
        if now < deadline:
            connection.send(next(requests), now)
        else:
            leave(connection)

    connections = [await _connect(target, answered, lost) for _ in range(num_clients)]
    alive.update(connections)
    started = time.perf_counter()
    deadline = started + seconds
    for connection in connections:
        connection.send(next(requests), time.perf_counter())
    await _wait(finished, seconds + DRAIN_S)
    outcome.seconds = time.perf_counter() - started
    _close(connections, outcome)
    return outcome


async def _open_loop(target: Target, arrivals: AnyArray) -> Outcome:
    outcome, requests = Outcome(), itertools.cycle(target.requests)
    free: list[Connection] = []
    connections: list[Connection] = []

    def lost(connection: Connection, busy: bool) -> None:
        if busy:
            outcome.errors["connection lost"] += 1
        if connection in free:
            free.remove(connection)

    def answered(connection: Connection, status: int, body: bytes) -> None:
        outcome.count(status, body, time.perf_counter() - connection.since, target)
        free.append(connection)

    async def send(due: float) -> None:
        if not free:
            if len(connections) >= MAX_CONNECTIONS:
                outcome.errors["no connection left"] += 1
                return
            connections.append(await _connect(target, answered, lost))
            free.append(connections[-1])
        free.pop().send(next(requests), due)

    started = time.perf_counter()
    for due in (arrivals + started).tolist():
        left = due - time.perf_counter()
        if left > 0:
            await asyncio.sleep(left)
        await send(due)
    deadline = time.perf_counter() + DRAIN_S
    while any(connection.busy for connection in connections) and time.perf_counter() < deadline:
        await asyncio.sleep(0.005)
    outcome.seconds = time.perf_counter() - started
    _close(connections, outcome)
    return outcome


async def _wait(finished: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await finished.wait()
    except TimeoutError:
        return


def _close(connections: Sequence[Connection], outcome: Outcome) -> None:
    for connection in connections:
        if connection.busy:
            connection.busy = False
            outcome.errors["no answer"] += 1
        connection.transport.abort()
