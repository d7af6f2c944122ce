"""Two servers on one machine: while one has no gateway, nobody else answers its clients."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.fixtures.running_shop import RunningShop, running_shop

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(900)]
NUM_ASKED = 100
ANSWERS = {(200, "fused"), (503, "unavailable"), (500, None), (None, None)}
"""Its own, HAProxy's, one for a request that a killed gateway had, none for the same reason."""


def ask(url: str) -> tuple[int | None, str | None]:
    """Status, and the placement or the error's code."""
    try:
        with urllib.request.urlopen(f"{url}/v1/status", timeout=30) as answer:
            return answer.status, json.load(answer)["placement"]
    except HTTPError as error:
        return error.code, json.load(error)["error"]["code"] if error.code == 503 else None
    except OSError:
        return None, None


def test_a_server_without_gateways_answers_503_and_no_other_server_in_its_place(tmp_path: Path) -> None:
    with (
        running_shop(tmp_path / "one" / "var", "fused") as one,
        running_shop(tmp_path / "other" / "var", "tiered") as other,
    ):
        assert (ask(one.url), ask(other.url)) == ((200, "fused"), (200, "tiered"))
        ended = threading.Event()
        killer = threading.Thread(target=kill_gateways, args=(one, ended))
        killer.start()
        try:
            answers: Counter[tuple[int | None, str | None]] = Counter()
            while answers[503, "unavailable"] < NUM_ASKED:
                answers[ask(one.url)] += 1
                assert answers.keys() <= ANSWERS, answers
                time.sleep(0.02)
            assert ask(other.url) == (200, "tiered")
        finally:
            ended.set()
            killer.join()


def kill_gateways(shop: RunningShop, ended: threading.Event) -> None:
    """Kills them as they come."""
    while not ended.wait(0.1):
        for gateway in shop.replicas("Gateway"):
            gateway.kill()
