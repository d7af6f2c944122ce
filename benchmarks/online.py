"""Measures the online loop: how fast and how reliably an interaction changes later answers.

One `fused` server with its consumer, on a copy of the benchmark shop's stores; load generator and server share the
machine's cores. Memory per user in Redis is measured on an empty store, filled with 10,000 random users.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import redis

from benchmarks.common import Figure, parse, report, spread, spread_ms
from benchmarks.load import Outcome, Target, closed_loop, http_request, open_loop, poisson_arrivals
from benchmarks.shop import Shop, open_shop
from benchmarks.systems import placement, running
from contracts import columns as c
from contracts.bundle import Bundle
from contracts.clock import DAY_S, HOUR_S
from contracts.config import merge
from contracts.ids import user_subject
from contracts.messages import Candidates
from recommender_api.operations import RECOMMEND, RECORD
from serving.stages.seen_filter import SeenEarly, SeenFilter
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.embedded import EmbeddedRedis
from serving.stores.keys import Keys
from serving.stores.materialize import StoreTables, materialize
from serving.stores.merge import TablesEnd
from serving.stores.recent import RecentItemStore
from serving.stores.seen import SeenStore, ring_layout
from serving.stores.user_features import UserFeatureStore

BATCH: Final = 20
"""Events per call under load."""
RATE: Final = 100
"""Recommendations per second beside the events."""
OFFERED: Final = 3_100
"""Events per second beside the recommendations."""
_ROUNDS: Final = 3
_PER_USER: Final = 200
_CLIENTS: Final = 8
_NO_QUOTAS: Final = {"interactions": {"quotas": {"events_at_once": 1_000_000_000}}}
"""The visitors of the benchmark are few and send more events than people do."""
_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.002


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    arguments = parse("online", __doc__ or "", argv)
    trials, seconds, users = (10, 1.0, 500) if arguments.quick else (200, 10.0, 10_000)
    with open_shop(quick=arguments.quick, num_requests=20_000, scratch=True) as shop:
        figures = asyncio.run(seen_filter_figures(shop, trials))
        system = placement("fused", os.cpu_count() or 1)
        with running(replace(system, settings=merge(system.settings, _NO_QUOTAS)), shop) as target:
            figures |= asyncio.run(change_figures(shop, target.port, trials))
            figures |= load_figures(shop, target, seconds)
        figures |= remembered_figures(shop)
    report(figures | user_figures(users), arguments.json)


def post(port: int, path: str, body: Any) -> dict[str, Any]:
    """The answer to a JSON body."""
    headers = {"content-type": "application/json"}
    call = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(call, timeout=_TIMEOUT_S) as answer:
        return dict(json.load(answer))


async def change_figures(shop: Shop, port: int, trials: int) -> dict[str, Figure]:
    """Whether the next request reads an interaction, and how long the new `top_category` takes to the online store."""
    assert shop.config.stores.address is not None
    stores = StoreConnection.open(shop.config.stores, shop.config.stores.address)
    recents = RecentItemStore(stores)
    features = UserFeatureStore(stores, shop.bundle.schema)
    users = list(dict.fromkeys(one["user_id"] for one in shop.asked if "user_id" in one))[:trials]
    known, times = 0, []
    for user in users:
        before = post(port, RECOMMEND.path, {"user_id": user, "k": 1})["recommendations"][0]["item_id"]
        post(port, RECORD.path, {"user_id": user, "item_id": before, "event": "click"})
        after = post(port, RECOMMEND.path, {"user_id": user, "k": 100})["recommendations"]
        (recent,) = await recents.read([user_subject(user)])
        assert recent is not None
        known += recent.item_ids[0] == before and all(item["item_id"] != before for item in after)
        times.append(await _until_changed(shop.bundle, port, features, user))
    await stores.client.aclose()
    return {
        "seen_next_request_ok": Figure(known / len(users), "share"),
        "top_category_ms_p50": Figure(float(np.percentile(times, 50)), "ms"),
        "top_category_ms_p99": Figure(float(np.percentile(times, 99)), "ms"),
    }


async def _until_changed(bundle: Bundle, port: int, features: UserFeatureStore, user: str) -> float:
    """Milliseconds from the 202 of events of a new category until it is the `top_category` in the online store."""
    old = (await features.read([user])).columns[c.TOP_CATEGORY][0]
    categories = bundle.strings("items/category_l1")
    new = next(name for name in categories if name not in (None, old))
    items = [bundle.strings("items/item_id")[row] for row, name in enumerate(categories) if name == new][:_PER_USER]
    events = [{"user_id": user, "item_id": str(items[n % len(items)]), "event": "click"} for n in range(100)]
    post(port, RECORD.path, events)
    accepted = time.perf_counter()
    while (await features.read([user])).columns[c.TOP_CATEGORY][0] != new:
        if time.perf_counter() - accepted > _TIMEOUT_S:
            raise RuntimeError(f"top_category of user {user} is still not {new!r} after {_TIMEOUT_S:.0f} s")
        await asyncio.sleep(_POLL_S)
    return 1000 * (time.perf_counter() - accepted)


def load_figures(shop: Shop, target: Target, seconds: float) -> dict[str, Figure]:
    """Latency of a single event, most events per second, and both loads together with recommendations' latency."""
    single, batches = _event_target(shop, target.port, 1), _event_target(shop, target.port, BATCH)
    closed_loop(single, 1, seconds / 4)
    alone = closed_loop(single, 1, seconds / 2)
    most = closed_loop(batches, _CLIENTS, seconds / 2)
    time.sleep(seconds / 2)  # lets the consumer catch up
    beside = [_beside(target, batches, seconds, 2 * number) for number in range(_ROUNDS)]
    events, recommendations = zip(*beside, strict=True)
    return {
        "interactions_p50_ms": spread_ms(alone.latencies_ms),
        "interactions_events_per_s_at_most": Figure(BATCH * most.rps, "events/s"),
        "interactions_events_per_s": spread([BATCH * one.rps for one in events], "events/s"),
        "interactions_errors": Figure(
            alone.num_errors + sum(one.num_errors + one.num_shed for one in events), "requests"
        ),
        "recommendations_p99_ms_beside_events": spread([one.percentile_ms(99) for one in recommendations], "ms"),
        "recommendations_errors_beside_events": Figure(sum(one.num_errors for one in recommendations), "requests"),
    }


def _beside(target: Target, batches: Target, seconds: float, seed: int) -> tuple[Outcome, Outcome]:
    """Figures of events and of simultaneous recommendations."""
    with ThreadPoolExecutor(2) as threads:
        recommended = threads.submit(open_loop, target, poisson_arrivals(RATE, seconds, seed))
        posted = threads.submit(open_loop, batches, poisson_arrivals(OFFERED / BATCH, seconds, seed + 1))
        return posted.result(), recommended.result()


def _event_target(shop: Shop, port: int, size: int) -> Target:
    """Events of visitors drawn by their activity, on items of the catalogue."""
    rng = np.random.default_rng(1)
    items = shop.bundle.strings("items/item_id")
    rows = rng.integers(0, shop.bundle.num_items, (len(shop.asked), size)).tolist()
    requests = []
    for number, drawn in enumerate(rows):
        events = []
        for place, row in enumerate(drawn):
            visitor = shop.asked[(number * size + place) % len(shop.asked)]
            who: dict[str, Any] = {
                name: visitor[name] for name in ("user_id", "session_id", "device_type") if name in visitor
            }
            events.append({**who, "item_id": str(items[row]), "event": "click"})
        requests.append(http_request(RECORD.path, json.dumps(events).encode()))
    return Target(port, requests, whole=f'"accepted":{size},'.encode(), status=202)


async def seen_filter_figures(shop: Shop, trials: int) -> dict[str, Figure]:
    """The seen filter and its read, for 32 users with 200 interactions and 300 candidates each."""
    config = shop.config.stores.model_copy(update={"seen_backend": "bitmap"})
    assert config.address is not None
    stores = StoreConnection.open(config, config.address)
    seen = SeenStore(StoreConnection(config, stores.address, stores.client))
    rng, bundle = np.random.default_rng(2), shop.bundle
    users, today = [f"benchmark-{number}" for number in range(32)], 20_000
    keys, hashes = [Keys(config.shop).seen(user_subject(user)) for user in users], bundle.array("bloom/hashes")
    saw = [rng.choice(bundle.num_items, min(_PER_USER, bundle.num_items), replace=False) for _ in users]
    days = today - rng.integers(0, config.seen_window_days, sum(map(len, saw)))
    whose = np.repeat(np.arange(len(users)), len(saw[0]))
    rings = ring_layout(config).build(whose, hashes[np.concatenate(saw)], days, len(users))
    await stores.client.mset(dict(zip(keys, rings, strict=True)))
    count = min(300, bundle.num_items)
    rows = np.concatenate([rng.choice(bundle.num_items, count, replace=False) for _ in users]).astype(np.int32)
    lengths = np.full(len(users), count, dtype=np.int32)
    candidates = Candidates(bundle.version, rows, np.zeros(len(rows), dtype=np.float32), lengths)
    stage, times = SeenFilter.open(bundle), []
    for _ in range(trials + 20):
        started = time.perf_counter()
        early = SeenEarly(await seen.read(users, today), hashes)
        stage(candidates, await early.about(candidates))
        times.append(1000 * (time.perf_counter() - started))
    await stores.client.delete(*keys)
    await stores.client.aclose()
    return {"seen_filter_32x300_ms": spread_ms(times[20:])}


def remembered_figures(shop: Shop) -> dict[str, Figure]:
    """Memory of the stream and of remembered event ids."""
    config = shop.config.stores
    assert config.address is not None
    client, keys = redis.Redis.from_url(config.address), Keys(config.shop)
    stream = client.memory_usage(keys.interactions) or 0
    ids = list(client.scan_iter(keys.all_events, 1_000))
    sampled = [client.memory_usage(key) or 0 for key in ids[:1_000]]
    client.close()
    return {
        "redis_stream_mb": Figure(stream / 1e6, "MB"),
        "redis_bytes_per_remembered_event": Figure(float(np.mean(sampled)) if sampled else None, "bytes"),
    }


def user_figures(count: int) -> dict[str, Figure]:
    """Bytes in Redis per user with 200 interactions in the window, in an otherwise empty store."""
    rng = np.random.default_rng(3)
    users = [f"user-{number:07d}" for number in range(count)]
    now = 20_000 * DAY_S + 12 * HOUR_S
    subjects = pa.array(np.repeat([user_subject(user) for user in users], _PER_USER))
    items = pa.array([f"item-{number:06d}" for number in rng.integers(0, 100_000, count * _PER_USER).tolist()])
    times = now - rng.integers(0, 6 * DAY_S, count * _PER_USER)
    categories = pa.array([f"category {number}" for number in rng.integers(0, 20, count * _PER_USER).tolist()])
    stamps = np.full(count, now)
    profiles = {"age": np.full(count, 30.0), "gender": ["F"] * count}
    activity = {"top_category": ["category 1"] * count, "top_category_long": ["category 2"] * count}
    recent = {"subject_id": subjects, "item_id": items, "timestamp": times, "category_l1": categories}
    seen = {"subject_id": subjects, "item_id": items, "day": times // DAY_S}
    tables = StoreTables(
        pa.table({"user_id": users, **profiles, "event_timestamp": stamps}),
        pa.table({"user_id": users, **activity, "event_timestamp": stamps}),
        [pa.table(recent)],
        [pa.table(seen)],
        TablesEnd(20_000, 20_001 * DAY_S),
    )
    with tempfile.TemporaryDirectory() as folder:
        embedded = EmbeddedRedisConfig(data_dir=Path(folder) / "redis")
        with EmbeddedRedis(embedded) as server:
            client = redis.Redis.from_url(server.address)
            empty = client.info("memory")["used_memory"]
            config = StoreConfig(shop="memory", address=server.address, feast_dir=Path(folder) / "feast")
            materialize(config, server.address, tables, bundle_version="none", written_at=now)
            client.delete(*(Keys("memory").popular(20_000 - day) for day in range(8)))
            while (memory := client.info("memory"))["lazyfree_pending_objects"]:  # the server frees large keys later
                time.sleep(_POLL_S)
            used = memory["used_memory"]
            client.close()
    return {"redis_bytes_per_user": Figure((used - empty) / count, "bytes")}


if __name__ == "__main__":
    main(sys.argv[1:])
