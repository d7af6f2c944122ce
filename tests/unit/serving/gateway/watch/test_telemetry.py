"""Metrics and the request log of a gateway in this process."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from contracts.bundle import Bundle
from contracts.config import validate
from contracts.errors import ConfigError
from serving.gateway.recommend.service import Answer, BatchFacts
from serving.gateway.watch.config import SUBJECT_KEY_VARIABLE, RequestLogConfig
from serving.gateway.watch.request_log import RequestLog
from serving.placing.stage_table import STAGES
from serving.watching import metrics as m
from serving.watching.metrics import Metric, Snapshot
from tests.fixtures.fake_stores import Fault
from tests.unit.serving.gateway.conftest import Shop

PATH = "/v1/recommendations"


async def post(
    shop: Shop, *bodies: dict[str, Any], headers: dict[str, str] | None = None, path: str = PATH
) -> list[httpx.Response]:
    transport = httpx.ASGITransport(app=shop.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        return list(await asyncio.gather(*(client.post(path, json=body, headers=headers) for body in bodies)))


async def handed_on(shop: Shop) -> Snapshot:
    """Everything measured so far."""
    await shop.telemetry._estimate()
    shop.telemetry.write_lines()
    shop.telemetry._measured(shop.telemetry._recorder.take())
    return shop.snapshots[-1]


def added(snapshot: Snapshot, metric: Metric) -> dict[str, float]:
    return {",".join(labels): value for (of, labels), value in snapshot.added.items() if of is metric}


def observed(snapshot: Snapshot, metric: Metric) -> dict[str, list[float]]:
    return {",".join(labels): list(values) for (of, labels), values in snapshot.observed.items() if of is metric}


async def test_a_batch_is_measured_stage_by_stage(shop: Shop) -> None:
    await post(shop, {"user_id": "u1", "k": 100}, {"user_id": "u3"}, {})
    snapshot = await handed_on(shop)
    assert observed(snapshot, m.BATCH_SIZE) == {"": [3]}
    assert len(observed(snapshot, m.WAITED_MS)[""]) == 3
    stages = observed(snapshot, m.STAGE_MS)
    assert set(stages) == set(STAGES)
    assert all(len(values) == 1 and values[0] > 0 for values in stages.values())
    (milliseconds,) = observed(snapshot, m.REQUEST_MS).values()
    assert list(observed(snapshot, m.REQUEST_MS)) == [f"{PATH},200"]
    assert min(milliseconds) >= sum(values[0] for values in stages.values()) * 0.5


async def test_candidates_are_conserved(shop: Shop) -> None:
    """Three requests get 39 launched items each; u1 has seen two of them within the window."""
    await post(shop, {"user_id": "u1"}, {"user_id": "u3"}, {})
    snapshot = await handed_on(shop)
    assert added(snapshot, m.RETRIEVED) == {"": 3 * 39}
    assert added(snapshot, m.KEPT) == {"": 3 * 39 - 2}
    assert added(snapshot, m.REMOVED) == {"seen": 2}


async def test_degraded_parts_are_counted_by_answer(shop: Shop) -> None:
    shop.users.fault = shop.rings.fault = Fault(fails=True)
    await post(shop, {"user_id": "u1"}, {"user_id": "u2"}, {})
    assert added(await handed_on(shop), m.DEGRADED) == {"user_features": 2, "seen_filter": 2}


async def test_refusals_and_other_routes_are_counted_by_route_never_by_path(
    shop: Shop, client: httpx.AsyncClient
) -> None:
    await post(shop, {"k": 0})
    for path in ("/v1/items/i1", "/v1/items/i2", "/v1/items/i99", "/v1/nothing/u1", "/v1/nothing/u2"):
        await client.get(path)
    counts = {labels: len(values) for labels, values in observed(await handed_on(shop), m.REQUEST_MS).items()}
    assert counts == {
        f"{PATH},422": 1,
        "/v1/items/{item_id},200": 2,
        "/v1/items/{item_id},404": 1,
        "none,404": 2,
    }


async def test_nothing_is_measured_twice(shop: Shop) -> None:
    await post(shop, {})
    assert (await handed_on(shop)).observed
    again = await handed_on(shop)
    assert not again.observed
    assert not again.added


async def test_shed_requests_are_counted(bundle: Bundle, raw_dir: Path) -> None:
    one = {"batch": {"max_batch_size": 1, "max_running_batches": 1, "max_queued": 1}, "budget_ms": 60_000}
    shop = Shop(bundle, raw_dir, service=one)
    responses = await post(shop, *[{}] * 12)
    num_shed = sum(response.status_code == 429 for response in responses)
    assert num_shed > 0
    assert added(await handed_on(shop), m.SHED) == {"": num_shed}


async def test_the_seen_filters_error_rate_is_near_the_layouts(shop: Shop) -> None:
    await post(shop, {})
    assert (await handed_on(shop)).current == {}, "nobody with seen items came"
    await post(shop, {"user_id": "u1"}, {"user_id": "u2"}, {})
    ((key, rate),) = (await handed_on(shop)).current.items()
    assert key == (m.SEEN_ERROR_RATE, ())
    assert 0 <= rate < 0.01
    rings = shop.rings.rings(["u:u1", None])
    full = np.full_like(rings.words, 2**64 - 1)
    shop.telemetry._seen.newest = dataclasses.replace(rings, words=full)
    ((_, rate),) = (await handed_on(shop)).current.items()
    assert 0.5 <= rate < 0.51, "the mean of nearly none and all"


async def test_a_broken_sink_is_told_and_stops_nothing(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    def broken(snapshot: Snapshot) -> None:
        raise OSError("no space")

    shop.telemetry._sink = broken
    (response,) = await post(shop, {})
    shop.telemetry._measured(shop.telemetry._recorder.take())
    assert response.status_code == 200
    assert "metrics" in caplog.text


async def test_lines_that_the_disk_does_not_take_are_counted_in_the_next_one(
    bundle: Bundle, raw_dir: Path, log_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log_file.mkdir(parents=True)
    shop = Shop(bundle, raw_dir, request_log={"file": log_file})
    await post(shop, {}, {})
    snapshot = await handed_on(shop)
    assert observed(snapshot, m.BATCH_SIZE) == {"": [2]}, "measurements do not depend on the log"
    assert "request log" in caplog.text
    log_file.rmdir()
    await post(shop, {})
    await handed_on(shop)
    (line,) = lines_of(log_file)
    assert line["left_out_before"] == 2
    assert log_file.stat().st_mode & 0o077 == 0


def test_metrics_are_named_and_explained_alike() -> None:
    names = [metric.name for metric in m.METRICS]
    assert len(set(names)) == len(names)
    for metric in m.METRICS:
        assert metric.name.startswith("recommender_")
        assert metric.says.endswith(".")
        assert (metric.kind == "histogram") == bool(metric.buckets)
        assert list(metric.buckets) == sorted(set(metric.buckets))


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "requests.jsonl"


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


async def test_a_request_has_one_line_without_its_body(bundle: Bundle, raw_dir: Path, log_file: Path) -> None:
    shop = Shop(bundle, raw_dir, request_log={"file": log_file})
    await post(shop, {"user_id": "u1", "recent_items": ["i2"]}, headers={"x-request-id": "r1"})
    await handed_on(shop)
    (line,) = lines_of(log_file)
    assert line["request_id"].startswith("r1.")
    assert (line["method"], line["route"], line["status"], line["batch_size"]) == ("POST", PATH, 200, 1)
    assert (line["bundle_version"], line["degraded"], line["removed"]) == ("tiny-1", [], {"seen": 2})
    assert set(line["stage_ms"]) == set(STAGES)
    assert line["ms"] > line["waited_ms"] >= 0
    assert "u1" not in log_file.read_text()
    assert "i2" not in log_file.read_text()


async def test_rankings_have_a_line_like_recommendations(bundle: Bundle, raw_dir: Path, log_file: Path) -> None:
    shop = Shop(bundle, raw_dir, request_log={"file": log_file})
    await post(shop, {"candidate_ids": ["i1", "i2"]}, path="/v1/rankings")
    await handed_on(shop)
    (line,) = lines_of(log_file)
    assert (line["route"], line["status"], line["batch_size"]) == ("/v1/rankings", 200, 1)


async def test_subjects_are_hashed_with_a_key_where_wanted(
    bundle: Bundle, raw_dir: Path, log_file: Path, tmp_path: Path
) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("0123456789abcdef\n")
    settings = {"file": log_file, "subject": "hashed", "subject_key_file": key_file}
    shop = Shop(bundle, raw_dir, request_log=settings)
    for body in ({"user_id": "u1"}, {"user_id": "u1", "session_id": "s1"}, {"session_id": "s1"}, {}):
        await post(shop, body)
    await handed_on(shop)
    first, second, third, fourth = lines_of(log_file)
    assert first["subject"] == second["subject"] != third["subject"]
    assert len(first["subject"]) == 16
    assert "subject" not in fourth
    assert "u1" not in log_file.read_text()


def plain(degraded: tuple[str, ...] = ()) -> Answer:
    return Answer(b"", None, degraded, 0.0, BatchFacts("v", 1, {}, {}))


def test_a_share_of_the_successes_is_logged_and_all_else() -> None:
    log = RequestLog(RequestLogConfig(share=0.25, max_lines_per_s=1_000_000))
    for number in range(100):
        log.add(str(number), "POST", PATH, 200, 1.0, plain())
    assert [line.request_id for line in log.take()] == [str(number) for number in range(3, 100, 4)]
    log.add("bad", "POST", PATH, 422, 1.0, None)
    log.add("worse", "POST", PATH, 200, 1.0, plain(("ranking",)))
    assert [line.request_id for line in log.take()] == ["bad", "worse"]


def test_lines_are_bounded_by_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr("serving.gateway.watch.request_log.time.time", lambda: now)
    log = RequestLog(RequestLogConfig(max_lines_per_s=3))
    for number in range(10):
        log.add(str(number), "POST", PATH, 500, 1.0, None)
    now = 1_001.0
    log.add("next", "POST", PATH, 200, 1.0, plain())
    assert [(line.request_id, line.left_out) for line in log.take()] == [("0", 0), ("1", 0), ("2", 0), ("next", 7)]


def test_a_large_file_makes_place(log_file: Path) -> None:
    log = RequestLog(RequestLogConfig(file=log_file, max_file_mb=1))
    log_file.parent.mkdir()
    log_file.write_text("x" * (2**20 + 1))
    log.add("r1", "GET", "/v1/status", 200, 1.0, None)
    log.write(log.take())
    assert [line["request_id"] for line in lines_of(log_file)] == ["r1"]
    assert log_file.with_name("requests.jsonl.1").stat().st_size == 2**20 + 1


async def test_lines_are_written_without_being_asked_and_at_the_end(
    bundle: Bundle, raw_dir: Path, log_file: Path
) -> None:
    shop = Shop(bundle, raw_dir, request_log={"file": log_file})
    await post(shop, {})
    task = shop.telemetry._task
    assert task is not None
    async with asyncio.timeout(20):
        while not log_file.is_file():
            await asyncio.sleep(0.05)
    await post(shop, {})
    assert shop.telemetry._task is task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(lines_of(log_file)) == 2


async def test_no_lines_at_all(bundle: Bundle, raw_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shop = Shop(bundle, raw_dir, request_log={"max_lines_per_s": 0})
    await post(shop, {"k": 0})
    await handed_on(shop)
    assert capfd.readouterr().err == ""
    loud = Shop(bundle, raw_dir)
    await post(loud, {"k": 0})
    await handed_on(loud)
    assert '"status":422' in capfd.readouterr().err


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"subject_key_file": "/key"}, "subject='none' with a subject_key_file"),
        ({"subject_key": "s3cret"}, "subject_key would be shown in logs .* set subject_key_file"),
        ({"share": 1.1}, "less than or equal to 1"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        validate(RequestLogConfig, values, source="x")


@pytest.mark.parametrize("key", ["", "short", "x" * 65])
def test_a_key_of_a_wrong_length_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    hashed = RequestLogConfig(subject="hashed")
    monkeypatch.setenv(SUBJECT_KEY_VARIABLE, key)
    with pytest.raises(ConfigError, match=f"with a key of {len(key)} bytes, expected 16 … 64; .*RECOMMENDER_SUBJECT"):
        RequestLog(hashed)
    monkeypatch.setenv(SUBJECT_KEY_VARIABLE, "0123456789abcdef")
    assert hashed.subject_key() == b"0123456789abcdef"
    assert RequestLogConfig().subject_key() is None
