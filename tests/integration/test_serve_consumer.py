"""The consumer on a real local Serve: from the API to features and records, also after a kill."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
import ray

from contracts import records as r
from serving.interactions import meter as m
from serving.placing.placement import CONSUMER
from tests.fixtures.read_stores import user_features
from tests.fixtures.served_apps import ServedApps
from tests.fixtures.served_bundle import NOW
from training.records import read_records

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.slow]
_PATIENCE_S = 120


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def post(shop: httpx.Client, user_id: str, event_id: str) -> None:
    event = {"event_id": event_id, "user_id": user_id, "item_id": "i1", "event": "click", "timestamp": NOW}
    answer = shop.post("/v1/interactions", json=event)
    assert answer.status_code == 202, answer.text


def recorded(served: ServedApps) -> set[str]:
    folder = served.config.stores.records_dir / served.config.stores.shop
    return set(read_records(folder, r.INTERACTIONS)["event_id"].to_pylist())


def exported(name: str) -> float:
    (node,) = ray.nodes()
    text = httpx.get(f"http://127.0.0.1:{node['MetricsExportPort']}/metrics", timeout=20).text
    return sum(float(value) for value in re.findall(rf"^ray_{name}{{.*?}} (\S+)$", text, flags=re.MULTILINE))


def consumers() -> list[psutil.Process]:
    name = f"ServeReplica:[^:]*:{CONSUMER}"
    return [one for one in psutil.process_iter(["cmdline"]) if re.search(name, " ".join(one.info["cmdline"] or []))]


async def test_an_event_becomes_a_feature_and_a_record(served: ServedApps, shop: httpx.Client) -> None:
    user = f"live-{shop.base_url.path.strip('/')}"
    category = shop.get("/v1/items/i1").json()["category_l1"]
    post(shop, user, f"{user}-1")
    deadline = time.monotonic() + _PATIENCE_S
    while (await user_features(served.config.stores, served.address, [user])).columns["top_category"] != (category,):
        assert time.monotonic() < deadline, "the feature did not come"
    until(lambda: f"{user}-1" in recorded(served))


def test_what_consumers_count_is_exported(served: ServedApps, shop: httpx.Client) -> None:
    before = exported(f"{m.EVENTS.name}_total")
    post(shop, "counted", f"counted-{shop.base_url.path}")
    until(lambda: exported(f"{m.EVENTS.name}_total") > before)
    assert exported(f"{m.FEATURE_MS.name}_count") > 0


def test_killed_consumers_are_started_anew_and_lose_nothing(served: ServedApps) -> None:
    running = consumers()
    assert running
    with httpx.Client(base_url=f"{served.url}/fused", timeout=60) as client:
        for number in range(20):
            post(client, f"killed-{number % 3}", f"killed-{number}")
            if number == 10:
                for process in running:
                    os.kill(process.pid, signal.SIGKILL)
    sent = {f"killed-{number}" for number in range(20)}
    until(lambda: sent <= recorded(served))
    assert not {process.pid for process in consumers()} & {process.pid for process in running}
    print(
        f"\nkilled with -9: {len(running)} consumer replicas of Serve after 11 of {len(sent)} events; "
        f"accepted {len(sent)}, recorded {len(sent & recorded(served))}, lost {len(sent - recorded(served))}"
    )
    assert Path(served.config.stores.records_dir).is_absolute()
