"""Builds the gateway of a bundle: pipeline, services, catalogue and routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp

from contracts.bundle import Bundle
from contracts.clock import Clock
from contracts.records import shop_records
from serving.config import ServingConfig
from serving.gateway.access.access import Access
from serving.gateway.access.audit import AuditLog
from serving.gateway.access.pages import PageGuard
from serving.gateway.catalogue.browser import Browser
from serving.gateway.catalogue.catalogue import Catalogue
from serving.gateway.decoding import RequestDecoder
from serving.gateway.http.asgi import Gateway, with_cors
from serving.gateway.http.bodies import Bodies
from serving.gateway.http.clients import ClientAddress
from serving.gateway.http.description import description_pages
from serving.gateway.http.endpoints import Endpoints
from serving.gateway.recommend.service import RecommendationService
from serving.gateway.record.impressions import ImpressionLog
from serving.gateway.record.interactions import InteractionService
from serving.gateway.record.users import UserDataEndpoints
from serving.gateway.shop.types import shop_types
from serving.gateway.watch.monitor import Monitor
from serving.gateway.watch.popularity import FreshPopularity
from serving.gateway.watch.telemetry import Telemetry
from serving.gateway.watch.tracing import with_traces
from serving.pipeline import Fallbacks, RecommenderPipeline, Stages
from serving.running.calls import StageCall
from serving.stages.seen_filter import SeenReader, seen_reader
from serving.stages.user_lookup import UserFeatureReader
from serving.stores.client import bulk_client
from serving.stores.connection import StoreConnection
from serving.stores.interactions import InteractionStore
from serving.stores.popular import PopularityStore
from serving.stores.seen import SeenStore
from serving.stores.user_data import UserDataStore
from serving.stores.user_features import UserFeatureStore
from serving.watching.metrics import MetricSink


@dataclass(frozen=True)
class Surroundings:
    """What a gateway uses outside of its process.

    Attributes:
        stores: the stores.
        clock: tells now.
        seen: reads seen items.
        user_features: reads user features.
        metrics: takes measurements; None = none are taken.
    """

    stores: StoreConnection
    clock: Clock
    seen: SeenReader
    user_features: UserFeatureReader
    metrics: MetricSink | None = None

    @classmethod
    def of(
        cls, bundle: Bundle, config: ServingConfig, stores: StoreConnection, metrics: MetricSink | None = None
    ) -> Surroundings:
        """Those of a server: the configured clock, and the stores."""
        seen = seen_reader(SeenStore(stores), bundle.transforms.calendar, bundle.array("bloom/hashes"))
        return cls(stores, config.clock(), seen, UserFeatureStore(stores, bundle.schema), metrics)


@dataclass(frozen=True)
class BuiltGateway:
    """The application and its parts.

    Attributes:
        endpoints: of the operations.
        access: checks permissions; None = everybody may call everything.
        telemetry: metrics and the request log.
        popularity: refreshes the popular items.
        impressions: records shown lists.
    """

    app: ASGIApp
    endpoints: Endpoints
    access: Access | None
    telemetry: Telemetry
    popularity: FreshPopularity
    impressions: ImpressionLog


def build_pipeline(
    stages: Mapping[str, StageCall], bundle: Bundle, config: ServingConfig, seen: SeenReader
) -> RecommenderPipeline:
    """The pipeline over opened stages, local or remote."""
    fallbacks = Fallbacks.open(bundle, config.retrieval.retrieval_k)
    return RecommenderPipeline(Stages(**stages), seen, fallbacks, config.pipeline)


def build_gateway(
    stages: Mapping[str, StageCall], bundle: Bundle, config: ServingConfig, placement: str, around: Surroundings
) -> BuiltGateway:
    """The gateway's application.

    Args:
        stages: all stages by name.
        bundle: the bundle that they serve.
        config: settings.
        placement: name of the placement, for the status.
        around: clock, stores and metrics.

    Raises:
        ConfigError: the keys of tokens cannot be read, or traces are wanted without their extra.
    """
    clock, stores, gateway_config = around.clock, around.stores, config.gateway
    types = shop_types(bundle.schema)
    telemetry = Telemetry(config.request_log, around.metrics)
    pipeline = build_pipeline(stages, bundle, config, telemetry.watch(around.seen))
    catalogue = Catalogue(bundle, config.raw_dir)
    folder = shop_records(stores.config.records_dir, stores.config.shop)
    impressions = ImpressionLog(bundle, clock, folder, config.impressions, telemetry.impressions)
    settings = (config.service, config.reranking, config.exploration)
    service = RecommendationService(bundle, pipeline, catalogue, clock, *settings, telemetry.batch, impressions.add)
    writer = InteractionStore(stores)
    interactions = InteractionService(
        bundle, types, writer, clock, stores.config, config.interactions, telemetry.events, service.until_idle
    )
    monitor = Monitor(bundle, placement, service, interactions, clock, stores)
    audit = AuditLog(config.audit_file, config.access.max_audited_refusals_per_s)
    users = UserDataEndpoints(UserDataStore(stores), around.user_features, clock, audit)
    bodies = Bodies(gateway_config.max_body_bytes, gateway_config.max_held_body_mb * 2**20)
    browser = Browser(gateway_config.max_browsing, gateway_config.browse_timeout_ms / 1000)
    address = ClientAddress(gateway_config.proxies)
    decode = RequestDecoder(types)
    endpoints = Endpoints(service, interactions, catalogue, users, clock, monitor, bodies, browser, address, decode)
    access = Access.open(config.access, audit, address)
    guard = PageGuard(gateway_config.hosts, gateway_config.cors_origins) if access is None else None
    gateway = Gateway(endpoints.by_operation(), description_pages(types), guard, access, telemetry)
    app = with_traces(with_cors(gateway, gateway_config), gateway_config.tracing)
    lately = PopularityStore(stores.config, stores.address, bulk_client(stores.config, stores.address))
    popularity = FreshPopularity(lately, pipeline.fallbacks.popular, bundle, clock)
    return BuiltGateway(app, endpoints, access, telemetry, popularity, impressions)
