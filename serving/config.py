"""Settings of the whole serving side; each part's settings stand beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field, model_validator

from contracts.clock import Clock, SimulatedClock, SystemClock
from contracts.config import StrictConfig
from recommender_api.requests import MAX_K
from serving.device import Device
from serving.gateway.access import AccessConfig
from serving.gateway.asgi import GatewayConfig
from serving.gateway.audit import AUDIT_FILE
from serving.gateway.exploration import ExplorationConfig
from serving.gateway.impressions import ImpressionConfig
from serving.gateway.interactions import InteractionConfig
from serving.gateway.request_log import SUBJECT_KEY_VARIABLE, RequestLogConfig
from serving.gateway.service import ServiceConfig
from serving.interactions.config import ConsumerConfig
from serving.stages.reranking import RerankingConfig
from serving.stages.retrieval import RetrievalConfig
from serving.steps import PipelineConfig
from serving.stores.config import PASSWORD_VARIABLE, StoreConfig

SECRET_VARIABLES: Final = (PASSWORD_VARIABLE, SUBJECT_KEY_VARIABLE, "OTEL_EXPORTER_OTLP_HEADERS")
"""Environment variables that hold secrets."""


class ServingConfig(StrictConfig):
    """Everything that serving needs to know besides the placement."""

    registry: str = "var/bundles"
    """Folder of the bundles and of the registry."""
    bundle: str | None = None
    """Version in the registry's folder, or the absolute path of a bundle; unset = the registry's production version."""
    raw_dir: Path | None = None
    """Folder that pictures are served from; unset = the one that the bundle names."""
    simulated_now: int | None = Field(default=None, ge=1)
    """Unix seconds at which a simulated clock stands still; unset = the machine's clock."""
    device: Device = "auto"
    """Where query tower and ranker run: `cpu`, `cuda`, or `auto` = `cuda` in a replica that was given a GPU."""
    stores: StoreConfig = StoreConfig()
    """User features, recent items and seen rings."""
    retrieval: RetrievalConfig = RetrievalConfig()
    """How many candidates."""
    reranking: RerankingConfig = RerankingConfig()
    """How lists are drawn where a request says nothing else."""
    pipeline: PipelineConfig = PipelineConfig()
    """Policies for failing stages."""
    service: ServiceConfig = ServiceConfig()
    """Budget and batches."""
    exploration: ExplorationConfig = ExplorationConfig()
    """Whose lists are drawn to learn from."""
    impressions: ImpressionConfig = ImpressionConfig()
    """How what was shown is recorded."""
    interactions: InteractionConfig = InteractionConfig()
    """Which events are taken, and how they are written."""
    gateway: GatewayConfig = GatewayConfig()
    """Limits of the HTTP side."""
    access: AccessConfig = AccessConfig()
    """Who may call the API."""
    request_log: RequestLogConfig = RequestLogConfig()
    """What is written about requests."""
    consumer: ConsumerConfig = ConsumerConfig()
    """How accepted interactions become features and records."""

    @model_validator(mode="after")
    def _enough_candidates(self) -> ServingConfig:
        if self.retrieval.retrieval_k < MAX_K:
            raise ValueError(
                f"retrieval.retrieval_k={self.retrieval.retrieval_k} is below {MAX_K}, the largest k of a request; "
                "raise it"
            )
        if self.pipeline.reserve_ms >= self.service.budget_ms:
            raise ValueError(
                f"pipeline.reserve_ms={self.pipeline.reserve_ms} leaves nothing of "
                f"service.budget_ms={self.service.budget_ms}; lower the one or raise the other"
            )
        return self

    @property
    def audit_file(self) -> Path:
        """Where refusals, erasures and exports are noted."""
        return self.access.audit_file or self.stores.records_dir.absolute().parent / AUDIT_FILE

    def clock(self) -> Clock:
        """The clock that all code takes now from."""
        return SystemClock() if self.simulated_now is None else SimulatedClock(self.simulated_now)
