"""kill −9 of consumers in the middle of their batches, and of Redis: nothing accepted is lost or counted twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import redis

from contracts import records as r
from contracts.bloom import item_hashes
from contracts.clock import DAY_S
from contracts.errors import StoreError
from contracts.features import top_category
from contracts.interactions import Interaction
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.embedded import EmbeddedRedis
from serving.stores.interactions import InteractionStore, NewInteraction
from serving.stores.keys import CONSUMERS, Keys
from tests.fixtures.filled_stores import fill_stores
from tests.fixtures.read_stores import user_features
from training.compaction import CompactConfig, compact
from training.records import read_records

pytestmark = [pytest.mark.redis, pytest.mark.slow]
SHOP = "toys"
KEYS = Keys(SHOP)
NOW = 20_000 * DAY_S + DAY_S // 2
NUM_USERS, NUM_BATCHES, BATCH = 40, 300, 10
CATEGORIES = ("books", "shoes", "toys")
PATIENCE_S = 120.0

CONSUMER = """
import sys
from pathlib import Path
from serving.interactions.build import open_consumer
from serving.interactions.config import ConsumerConfig
from serving.interactions.meter import ConsumerMeter
from serving.stores.config import StoreConfig

name, address, folder = sys.argv[1:]
stores = StoreConfig(shop="toys", feast_dir=Path(folder) / "feast", records_dir=Path(folder) / "records")
config = ConsumerConfig(batch_size=40, flush_rows=150, flush_interval_s=0.3, claim_after_s=0.6, max_deliveries=50)
with open_consumer(config, stores, address, "UTC", name, ConsumerMeter()) as consumer:
    print("ready", flush=True)
    consumer.run()
"""


def start_consumer(name: str, address: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CONSUMER, name, address, str(folder)], stdout=subprocess.PIPE, text=True
    )


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def batches(rng: np.random.Generator) -> list[list[tuple[Interaction, str]]]:
    """Events in order of time, with their categories."""
    events = []
    for number in range(NUM_BATCHES * BATCH):
        user = f"k{rng.integers(NUM_USERS)}"
        at = NOW + number
        event = Interaction(
            event_id=f"e{number}", user_id=user, item_id="i1", event="view", timestamp=at, accepted_at=at
        )
        events.append((event, CATEGORIES[rng.integers(len(CATEGORIES))]))
    return [events[start : start + BATCH] for start in range(0, len(events), BATCH)]


async def accept(config: StoreConfig, address: str, some: list[list[tuple[Interaction, str]]]) -> Counter[str]:
    """Writes as the API does; a batch without an answer is sent again, as a stores.client would. Counts the answers."""
    answers: Counter[str] = Counter()
    stores = StoreConnection.open(config, address)
    store = InteractionStore(stores)
    seen = (item_hashes(["i1"])[0], NOW // DAY_S)
    for batch in some:
        while True:
            try:
                answers.update(await store.add([NewInteraction(event, category, seen) for event, category in batch]))
                break
            except StoreError:
                answers["no answer"] += len(batch)
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.004)
    await stores.client.aclose()
    return answers


async def test_kills_lose_nothing_and_count_nothing_twice(tmp_path: Path) -> None:
    config = StoreConfig(
        shop=SHOP, feast_dir=tmp_path / "feast", records_dir=tmp_path / "records", read_timeout_ms=20_000
    )
    work = batches(np.random.default_rng(7))
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path / "redis")) as server:
        await asyncio.to_thread(fill_stores, config, server.address)
        running = [start_consumer(f"c{number}", server.address, tmp_path) for number in range(4)]
        for consumer in running:
            assert consumer.stdout is not None
            assert consumer.stdout.readline() == "ready\n"
        writing = asyncio.create_task(accept(config, server.address, work))
        client = redis.Redis.from_url(server.address)
        await asyncio.sleep(0.7)
        held = []
        for number, consumer in enumerate(running[:2]):
            consumer.kill()
            consumers = client.xinfo_consumers(KEYS.interactions, CONSUMERS)
            held += [one["pending"] for one in consumers if one["name"] == f"c{number}".encode()]
            await asyncio.sleep(0.3)
        assert max(held) > 0  # killed in the middle of something
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.sleep(0.5)
        running[2].kill()
        answers = await writing
        await asyncio.to_thread(until, lambda: client.xlen(KEYS.interactions) == client.xlen(KEYS.served) == 0)
        assert client.xpending(KEYS.interactions, CONSUMERS)["pending"] == 0
        assert client.xlen(KEYS.dead_letters) == 0
        running[3].terminate()
        for consumer in running:
            consumer.wait()
            assert consumer.stdout is not None
            consumer.stdout.close()
        assert server.num_restarts == 1
        users = [f"k{number}" for number in range(NUM_USERS)]
        online = (await user_features(config, server.address, users)).columns["top_category"]

    compact(config.records_dir / SHOP, CompactConfig(), NOW + DAY_S)
    recorded = Counter(read_records(config.records_dir / SHOP, r.INTERACTIONS)["event_id"].to_pylist())
    sent = Counter(event.event_id for batch in work for event, _ in batch)
    tell(sent, answers, recorded, held)
    assert recorded == sent
    assert online == expected(work, users)
    assert last_served(config, users) == online


def tell(sent: Counter[str], answers: Counter[str], recorded: Counter[str], held: list[int]) -> None:
    """What was killed and what became of the events, for whoever runs this with -s."""
    print(
        f"\nkilled with -9: 3 of 4 consumers, the first two with {held} entries in hand, and Redis\n"
        f"events sent {sent.total()}, answers {dict(answers)}\n"
        f"recorded {recorded.total()}, lost {(sent - recorded).total()}, counted twice {(recorded - sent).total()}"
    )


def expected(work: list[list[tuple[Interaction, str]]], users: list[str]) -> tuple[str | None, ...]:
    """The definition, on all events of each user: all lie within 24 hours."""
    result: list[str | None] = []
    for user in users:
        events = [(event, category) for batch in work for event, category in batch if event.user_id == user]
        codes = np.array([1 + CATEGORIES.index(category) for _, category in events], dtype=np.int32)
        result.append(CATEGORIES[top_category(codes, np.array([event.timestamp for event, _ in events])) - 1])
    return tuple(result)


def last_served(config: StoreConfig, users: list[str]) -> tuple[str | None, ...]:
    """The last recorded value of each user."""
    rows = read_records(config.records_dir / SHOP, r.USER_ACTIVITY).sort_by(r.SERVED_MS).to_pylist()
    last = {row["user_id"]: row["top_category"] for row in rows}
    return tuple(last[user] for user in users)
