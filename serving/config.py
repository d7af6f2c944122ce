"""Settings of serving; each package has its own in `config.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import model_validator

from recommender_api.requests import MAX_K
from serving.gateway.access.audit import AUDIT_FILE
from serving.gateway.access.config import AccessConfig
from serving.gateway.http.config import GatewayConfig
from serving.gateway.recommend.config import ExplorationConfig, ServiceConfig
from serving.gateway.record.config import ImpressionConfig, InteractionConfig
from serving.gateway.watch.config import SUBJECT_KEY_VARIABLE, RequestLogConfig
from serving.interactions.config import ConsumerConfig
from serving.placing.config import StageConfig
from serving.stages.config import RerankingConfig
from serving.stores.config import PASSWORD_VARIABLE

SECRET_VARIABLES: Final = (PASSWORD_VARIABLE, SUBJECT_KEY_VARIABLE, "OTEL_EXPORTER_OTLP_HEADERS")
"""Environment variables that hold secrets."""


class ServingConfig(StageConfig):
    """All settings of serving except the placement."""

    registry: str = "var/bundles"
    """Folder of the bundles and of the registry."""
    bundle: str | None = None
    """Version in the registry's folder, or the absolute path of a bundle; unset = the registry's production version."""
    raw_dir: Path | None = None
    """Folder of the pictures; unset = the one that the bundle names."""
    reranking: RerankingConfig = RerankingConfig()
    """Default reranking options of requests."""
    service: ServiceConfig = ServiceConfig()
    """Budget and batches."""
    exploration: ExplorationConfig = ExplorationConfig()
    """Who explores."""
    impressions: ImpressionConfig = ImpressionConfig()
    """How shown lists are recorded."""
    interactions: InteractionConfig = InteractionConfig()
    """Which events are accepted, and how they are written."""
    gateway: GatewayConfig = GatewayConfig()
    """Limits of the HTTP side."""
    access: AccessConfig = AccessConfig()
    """Who may call the API."""
    request_log: RequestLogConfig = RequestLogConfig()
    """Content and amount of the request log."""
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
                f"service.budget_ms={self.service.budget_ms}; lower reserve_ms or raise budget_ms"
            )
        return self

    @property
    def audit_file(self) -> Path:
        """File of the audit log."""
        return self.access.audit_file or self.stores.records_dir.absolute().parent / AUDIT_FILE

    def of_stages(self) -> StageConfig:
        """The settings for replicas of stages, without those of the gateway."""
        return StageConfig(**{name: getattr(self, name) for name in StageConfig.model_fields})
