from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakeredis
import httpx
import pytest

from contracts.bundle import Bundle
from contracts.clock import SimulatedClock
from contracts.records import shop_records
from serving.config import ServingConfig
from serving.gateway.access.pages import LOOPBACK_HOSTS
from serving.gateway.build import Surroundings, build_gateway
from serving.placing.stage_table import STAGES, open_stage
from serving.running.calls import AsyncCall, StageCall
from serving.running.load import ComputeThread
from serving.stages.query_features import QueryFeatureBuilder, QueryFeatureStage
from serving.stages.user_lookup import RecentItemReader, UserLookup
from serving.stores.connection import StoreConnection
from serving.stores.recent import RecentItemStore
from serving.watching.metrics import Snapshot
from tests.fixtures.fake_stores import RECENT, SEEN, TODAY, FakeRecentItems, FakeSeenRings, FakeUserFeatures
from tests.fixtures.served_bundle import NOW

PIXEL = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010806000000")


class Part:
    """A stage that a test may replace while the gateway runs."""

    def __init__(self, stage: StageCall) -> None:
        self.stage = stage

    async def __call__(self, *messages: Any, timeout_s: float) -> Any:
        return await self.stage(*messages, timeout_s=timeout_s)


class Shop:
    """A whole gateway in this process, on fake stores; `online`: recent items and seen rings are those of its Redis."""

    def __init__(self, bundle: Bundle, raw_dir: Path, *, online: bool = False, **changed: Any) -> None:
        records_dir = raw_dir.parent / "records"
        gateway = {"hosts": ["shop", "testserver", *LOOPBACK_HOSTS], **changed.pop("gateway", {})}
        stores = {"read_timeout_ms": 60_000, "records_dir": records_dir, **changed.pop("stores", {})}
        values = {"raw_dir": raw_dir, "gateway": gateway, "stores": stores, "service": {"budget_ms": 60_000}}
        self.config = ServingConfig.model_validate(values | changed)
        self.users = FakeUserFeatures({"u1": (30.0, "F", "books", "shoes")})
        self.recent = FakeRecentItems(RECENT)
        self.rings = FakeSeenRings(SEEN, TODAY)
        self.clock = SimulatedClock(NOW)
        self.redis = fakeredis.FakeAsyncRedis()
        self.records = shop_records(records_dir, self.config.stores.shop)
        self.snapshots: list[Snapshot] = []
        opened = StoreConnection(self.config.stores, "redis://x", self.redis)
        around = Surroundings.of(bundle, self.config, opened, self.snapshots.append)
        around = replace(around, clock=self.clock, user_features=self.users)
        recent: RecentItemReader = self.recent
        if online:
            recent = RecentItemStore(opened)
        else:
            around = replace(around, seen=self.rings)
        thread = ComputeThread()
        lookup = UserLookup(self.users, recent, self.config.pipeline)
        local = [name for name, entry in STAGES.items() if not entry.reads_stores]
        stages = {name: open_stage(name, bundle, self.config, thread, None) for name in local}
        stages["query_features"] = AsyncCall(QueryFeatureStage(lookup, QueryFeatureBuilder.open(bundle)))
        self.stages = {name: Part(stage) for name, stage in stages.items()}
        built = build_gateway(self.stages, bundle, self.config, "here", around)
        self.app, self.endpoints, self.access = built.app, built.endpoints, built.access
        self.telemetry, self.impressions = built.telemetry, built.impressions
        self.service, self.interactions = self.endpoints.service, self.endpoints.interactions
        self.catalogue, self.monitor = self.endpoints.catalogue, self.endpoints.monitor


@pytest.fixture
def raw_dir(tmp_path: Path) -> Path:
    """Raw tables' folder with the pictures of i1 and, outside of it, a file that nobody may get."""
    folder = tmp_path / "raw"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "i1.png").write_bytes(PIXEL)
    (tmp_path / "secret.png").write_bytes(b"secret")
    return folder


@pytest.fixture
def shop(bundle: Bundle, raw_dir: Path) -> Shop:
    return Shop(bundle, raw_dir)


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    """HTTP to the gateway without a server."""
    transport = httpx.ASGITransport(app=shop.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as opened:
        yield opened
