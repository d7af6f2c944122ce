"""What Prometheus gets to see of running applications."""

from __future__ import annotations

import re
import time

import httpx
import pytest
import ray

from serving.placing.stage_table import STAGES
from serving.watching import metrics as m
from tests.fixtures.served_apps import ServedApps

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.slow]
_PATIENCE_S = 90


def exported(name: str) -> dict[str, float]:
    """Values of a metric's samples by their labels, summed over processes."""
    (node,) = ray.nodes()
    text = httpx.get(f"http://127.0.0.1:{node['MetricsExportPort']}/metrics", timeout=20).text
    found: dict[str, float] = {}
    for labels, value in re.findall(rf"^{name}{{(.*?)}} (\S+)$", text, flags=re.MULTILINE):
        found[labels] = found.get(labels, 0.0) + float(value)
    return found


def test_ray_exports_the_gateways_metrics(served: ServedApps, shop: httpx.Client) -> None:
    before = sum(exported(f"ray_{m.REQUEST_MS.name}_count").values())
    for _ in range(5):
        assert shop.post("/v1/recommendations", json={"user_id": "u1"}).status_code == 200
    deadline = time.monotonic() + _PATIENCE_S
    while sum(exported(f"ray_{m.REQUEST_MS.name}_count").values()) < before + 5:
        assert time.monotonic() < deadline, "the requests did not show up"
        time.sleep(1)
    stages = {re.search(r'stage="(\w+)"', labels)[1] for labels in exported(f"ray_{m.STAGE_MS.name}_count")}  # type: ignore[index]
    assert stages == set(STAGES)
    for metric in (m.BATCH_SIZE, m.WAITED_MS):
        assert sum(exported(f"ray_{metric.name}_count").values()) >= 5
    while True:  # Ray hands the counters on one by one
        retrieved, kept, removed = (
            sum(exported(f"ray_{metric.name}_total").values()) for metric in (m.RETRIEVED, m.KEPT, m.REMOVED)
        )
        if retrieved == kept + removed > 0:
            break
        assert time.monotonic() < deadline, f"{retrieved} retrieved, {kept} kept, {removed} removed"
        time.sleep(1)
    (rate,) = set(exported(f"ray_{m.SEEN_ERROR_RATE.name}").values()) or {-1.0}
    assert rate < 0.01
