from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from benchmarks.load import Outcome, Target, closed_loop, http_request, open_loop, parse_answer, poisson_arrivals

WHOLE = b'{"degraded":[]}'
REPLACED = b'{"degraded":["ranking"]}'


def test_percentiles_are_the_nearest_rank() -> None:
    outcome = Outcome(seconds=2.0, latencies_ms=[10.0, 4.0, 9.0, 1.0, 7.0, 3.0, 8.0, 2.0, 6.0, 5.0])

    assert outcome.percentile_ms(50) == 5.0
    assert outcome.percentile_ms(91) == 10.0
    assert outcome.percentile_ms(90) == 9.0
    assert outcome.percentile_ms(99) == 10.0
    assert outcome.rps == 5.0


def test_no_good_answer_has_no_percentile() -> None:
    outcome = Outcome()
    outcome.count(429, b"", 0.1, Target(0, []))

    with pytest.raises(ValueError, match="no good answer to take a percentile of; 1 shed"):
        outcome.percentile_ms(50)


def test_answers_are_counted_by_kind() -> None:
    outcome = Outcome()
    for status, body in ((200, WHOLE), (200, REPLACED), (429, WHOLE), (503, b""), (503, b"")):
        outcome.count(status, body, 0.25, Target(0, []))

    assert outcome.latencies_ms == [250.0]
    assert outcome.num_shed == 1
    assert outcome.errors == {"degraded": 1, "status 503": 2}
    assert outcome.num_errors == 3


def test_arrivals_are_a_poisson_process() -> None:
    times = poisson_arrivals(1_000, 50.0, seed=3)
    gaps = np.diff(times)

    assert len(times) == pytest.approx(50_000, abs=5 * 50_000**0.5)
    assert times[0] >= 0
    assert times[-1] < 50
    assert (gaps >= 0).all()
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # of an exponential they are equal
    np.testing.assert_array_equal(times, poisson_arrivals(1_000, 50.0, seed=3))
    assert len(np.intersect1d(times, poisson_arrivals(1_000, 50.0, seed=4))) == 0


def test_an_answer_is_parsed_when_it_is_complete() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nserver: x\r\n\r\nhello"

    for cut in range(len(answer)):
        assert parse_answer(answer[:cut]) is None
    assert parse_answer(answer) == (200, b"hello")
    assert parse_answer(b"HTTP/1.1 429 Too Many\r\ncontent-length: 0\r\n\r\n") == (429, b"")
    with pytest.raises(ValueError, match="no content-length"):
        parse_answer(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")


def test_a_request_is_whole() -> None:
    assert http_request("/x", b"{}") == (
        b"POST /x HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    )


class LocalServer:
    """An HTTP server in a thread; `answer` turns a request's body into status and body, None ends the connection."""

    def __init__(self, answer: Callable[[bytes], tuple[int, bytes] | None]) -> None:
        self._answer = answer
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        self.bodies: list[bytes] = []
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
                self.bodies.append(body)
                answer = self._answer(body)
                if answer is None:
                    return
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (answer[0], len(answer[1])) + answer[1])
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def stop(self) -> None:
        async def end() -> None:
            self._server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def answer_by_body(body: bytes) -> tuple[int, bytes] | None:
    return {
        b"whole": (200, WHOLE),
        b"replaced": (200, REPLACED),
        b"shed": (429, b""),
        b"broken": (500, b"{}"),
        b"gone": None,
    }[body]


@pytest.fixture
def server() -> Iterator[LocalServer]:
    started = LocalServer(answer_by_body)
    yield started
    started.stop()


def target(server: LocalServer, *bodies: bytes) -> Target:
    return Target(server.port, [http_request("/v1/recommendations", body) for body in bodies])


def test_an_open_loop_sends_every_arrival_and_counts_every_answer(server: LocalServer) -> None:
    outcome = open_loop(target(server, b"whole", b"replaced", b"shed", b"broken"), np.arange(100) * 0.001)

    assert len(outcome.latencies_ms) == 25
    assert outcome.num_shed == 25
    assert outcome.errors == {"degraded": 25, "status 500": 25}
    assert sorted(server.bodies) == sorted([b"whole", b"replaced", b"shed", b"broken"] * 25)


def test_a_lost_connection_is_an_error_and_the_load_goes_on(server: LocalServer) -> None:
    outcome = open_loop(target(server, b"gone", b"whole"), np.arange(20) * 0.002)

    assert outcome.errors == {"connection lost": 10}
    assert len(outcome.latencies_ms) == 10


def test_clients_of_a_closed_loop_wait_for_their_answers(server: LocalServer) -> None:
    outcome = closed_loop(target(server, b"whole"), 3, 0.2)

    assert len(outcome.latencies_ms) == len(server.bodies) > 3
    assert outcome.num_errors == 0
    assert outcome.rps == pytest.approx(len(server.bodies) / outcome.seconds)
    assert outcome.seconds >= 0.2


def test_a_closed_loop_whose_clients_are_all_gone_ends(server: LocalServer) -> None:
    outcome = closed_loop(target(server, b"gone"), 2, 30)

    assert outcome.errors == {"connection lost": 2}
    assert outcome.latencies_ms == []
