from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import fakeredis
import httpx
import pytest

from contracts.bundle import Bundle
from contracts.clock import SimulatedClock
from serving.config import ServingConfig
from serving.gateway.access.access import Access
from serving.gateway.access.audit import AuditLog
from serving.gateway.access.pages import LOOPBACK_HOSTS, PageGuard
from serving.gateway.catalogue.browser import Browser
from serving.gateway.catalogue.catalogue import Catalogue
from serving.gateway.http.asgi import Gateway, with_cors
from serving.gateway.http.bodies import Bodies
from serving.gateway.http.clients import ClientAddress
from serving.gateway.http.description import description_pages
from serving.gateway.http.endpoints import Endpoints
from serving.gateway.recommend.service import RecommendationService
from serving.gateway.record.impressions import ImpressionLog
from serving.gateway.record.interactions import InteractionService
from serving.gateway.record.users import UserDataEndpoints
from serving.gateway.watch.monitor import Monitor
from serving.gateway.watch.telemetry import Telemetry
from serving.pipeline import Fallbacks, RecommenderPipeline, Stages
from serving.running.calls import AsyncCall, ThreadCall
from serving.running.load import ComputeThread
from serving.stages.query_features import QueryFeatureBuilder, QueryFeatureStage
from serving.stages.ranking import Ranking
from serving.stages.reranking import Reranking
from serving.stages.retrieval import Retrieval
from serving.stages.seen_filter import SeenFilter, seen_reader
from serving.stages.user_lookup import UserLookup
from serving.stores.connection import StoreConnection
from serving.stores.interactions import InteractionStore
from serving.stores.recent import RecentItemStore
from serving.stores.seen import SeenStore
from serving.stores.user_data import UserDataStore
from serving.watching.metrics import Snapshot
from tests.fixtures.fake_stores import RECENT, SEEN, TODAY, FakeRecentItems, FakeSeenRings, FakeUserFeatures
from tests.fixtures.served_bundle import NOW

PIXEL = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010806000000")


class Shop:
    """A whole gateway in this process, on fake stores; `online`: recent items and seen rings are those of its Redis."""

    def __init__(self, bundle: Bundle, raw_dir: Path, *, online: bool = False, **changed: Any) -> None:
        self.config = ServingConfig.model_validate(
            {"service": {"budget_ms": 60_000}, "stores": {"read_timeout_ms": 60_000}}
            | {**changed, "gateway": {"hosts": ["shop", "testserver", *LOOPBACK_HOSTS], **changed.get("gateway", {})}}
        )
        self.users = FakeUserFeatures({"u1": (30.0, "F", "books", "shoes")})
        self.recent = FakeRecentItems(RECENT)
        self.rings = FakeSeenRings(SEEN, TODAY)
        self.clock = SimulatedClock(NOW)
        thread = ComputeThread()
        self.redis = fakeredis.FakeAsyncRedis()
        stores = StoreConnection(self.config.stores, "redis://x", self.redis)
        opened = (stores.config, stores.address, self.redis)
        recent = RecentItemStore(*opened) if online else self.recent
        lookup = UserLookup(self.users, recent, self.config.pipeline)
        self.stages = Stages(
            AsyncCall(QueryFeatureStage(lookup, QueryFeatureBuilder.open(bundle))),
            ThreadCall(Retrieval.open(bundle, self.config.retrieval), thread),
            ThreadCall(SeenFilter.open(bundle), thread),
            ThreadCall(Ranking.open(bundle), thread),
            ThreadCall(Reranking.open(bundle), thread),
        )
        self.snapshots: list[Snapshot] = []
        self.telemetry = Telemetry(self.config.request_log, self.snapshots.append)
        hashes = bundle.array("bloom/hashes")
        seen = seen_reader(SeenStore(*opened), bundle.transforms.calendar, hashes) if online else self.rings
        seen = self.telemetry.watch(seen)
        pipeline = RecommenderPipeline(self.stages, seen, Fallbacks.open(bundle, 300), self.config.pipeline)
        self.catalogue = Catalogue(bundle, raw_dir)
        self.records = raw_dir.parent / "records"
        self.impressions = ImpressionLog(
            bundle, self.clock, self.records, self.config.impressions, self.telemetry.impressions
        )
        settings: tuple[Any, ...] = (self.config.service, self.config.reranking, self.config.exploration)
        watchers = (self.telemetry.batch, self.impressions.add)
        self.service = RecommendationService(bundle, pipeline, self.catalogue, self.clock, *settings, *watchers)
        settings = (stores.config, self.config.interactions, self.telemetry.events, self.service.until_idle)
        self.interactions = InteractionService(bundle, InteractionStore(*opened), self.clock, *settings)
        self.monitor = Monitor(bundle, "here", self.service, self.interactions, self.clock, stores)
        limits, address = self.config.gateway, ClientAddress(self.config.gateway.proxies)
        audit = AuditLog(self.config.access.audit_file or raw_dir.parent / "audit.jsonl", 20)
        users = UserDataEndpoints(UserDataStore(*opened), self.users, self.clock, audit)
        bodies = Bodies(limits.max_body_bytes, limits.max_held_body_mb * 2**20)
        beside = (bodies, Browser(limits.max_browsing, limits.browse_timeout_ms / 1000), address)
        own = (self.service, self.interactions, self.catalogue, users, self.clock, self.monitor)
        self.endpoints = Endpoints(*own, *beside)
        self.access = Access.open(self.config.access, audit, address)
        guard = PageGuard(limits.hosts, limits.cors_origins) if self.access is None else None
        parts = (self.endpoints.by_operation(), description_pages(), guard, self.access, self.telemetry)
        self.app = with_cors(Gateway(*parts), limits)


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
