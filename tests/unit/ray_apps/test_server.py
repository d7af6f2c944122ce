from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ray_apps.demo import recommendation_table
from ray_apps.server import Server

ANSWER = {
    "request_id": "r",
    "user_id": "u1",
    "bundle_version": "shop-1",
    "degraded": [],
    "recommendations": [
        {"rank": 1, "item_id": "i7", "score": 0.5, "title": "coffee mug", "category_l1": "tableware"}
        | {"category_l2": None, "gender": None, "price": 9.5, "image_url": None},
        {"rank": 2, "item_id": "i8", "score": 0.4, "title": None, "category_l1": None}
        | {"category_l2": None, "gender": None, "price": None, "image_url": None},
    ],
}


class Shop(HTTPServer):
    """Answers every request with `ANSWER` and keeps paths and bodies."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, object]]] = []


class Handler(BaseHTTPRequestHandler):
    server: Shop

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append((self.path, json.loads(body)))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(ANSWER).encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_demo_shows_an_answer_of_the_server(shop: Shop) -> None:
    table = recommendation_table(Server(f"http://127.0.0.1:{shop.server_port}", 0.0), "u1").splitlines()

    [(path, body)] = shop.asked
    assert path == "/v1/recommendations"
    assert (body["user_id"], body["device_type"], body["k"]) == ("u1", "mobile", 5)
    assert table[0] == "For user u1 on a phone, by bundle shop-1:"
    assert table[1].split() == ["1", "i7", "coffee", "mug", "tableware", "9.50"]
    assert table[2].split() == ["2", "i8"]
