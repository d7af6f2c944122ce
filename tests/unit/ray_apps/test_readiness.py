"""Against a real HTTP server: when answers count as whole, and what is said when they never are."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import pytest

from ray_apps import readiness
from ray_apps.readiness import wait_until_warm

Answer = tuple[int, dict[str, object]]
WHOLE: Answer = (200, {"degraded": []})
SLOW: Answer = (200, {"degraded": ["retrieval", "ranking"]})


@contextmanager
def server(answer: Callable[[int], Answer]) -> Iterator[tuple[str, Counter[str]]]:
    """An API whose n-th recommendations are given; its address, and how often each path was asked."""
    asked: Counter[str] = Counter()
    numbers = count()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            assert "X-Budget-Ms" not in self.headers
            self._send(answer(next(numbers)))

        def do_GET(self) -> None:
            self._send((200, {}))

        def _send(self, sent: Answer) -> None:
            asked[self.path] += 1
            self.send_response(sent[0])
            self.end_headers()
            self.wfile.write(json.dumps(sent[1]).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}", asked
        running.shutdown()


@pytest.mark.parametrize("gateways", [1, 2, 4])
def test_warm_is_several_whole_rounds_in_a_row_of_all_gateways(gateways: int) -> None:
    bad = {0, 3 * gateways}  # in the first round and in the fourth
    with server(lambda number: SLOW if number in bad else WHOLE) as (url, asked):
        assert wait_until_warm(url, gateways)
    assert asked == {"/v1/recommendations": gateways * (4 + readiness.WHOLE_IN_A_ROW)}


def test_a_gateway_that_refuses_is_not_warm() -> None:
    with server(lambda number: (503, {}) if number < 3 else WHOLE) as (url, asked):
        assert wait_until_warm(url, 1)
    assert asked.total() == 3 + readiness.WHOLE_IN_A_ROW


def test_where_nobody_may_ask_without_a_key_the_gateways_readiness_counts() -> None:
    with server(lambda _: (401, {})) as (url, asked):
        assert wait_until_warm(url, 1)
    assert asked["/v1/ready"] == readiness.WHOLE_IN_A_ROW


def test_a_machine_that_stays_too_slow_is_told_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(readiness, "WARM_TIMEOUT_S", 0.5)
    with server(lambda _: SLOW) as (url, _):
        assert not wait_until_warm(url, 2)
    assert "this machine is too slow for its settings: answers lack ranking, retrieval." in caplog.text
    assert "raise service.budget_ms" in caplog.text
