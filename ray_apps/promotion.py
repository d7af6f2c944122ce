"""Changes of the production pointer, each with a line in the audit log: who, from what, to what, and why."""

from __future__ import annotations

import getpass
from pathlib import Path

from contracts.bundle import Bundle
from contracts.errors import BundleError
from contracts.registry import Registry, RegistryEntry
from serving.gateway.audit import AuditLog
from serving.stages.query_features import QueryFeatureBuilder
from serving.stages.ranking import Ranking
from serving.stages.reranking import Reranking
from serving.stages.retrieval import Retrieval, RetrievalConfig
from serving.stages.seen_filter import SeenFilter

AUDIT_FILE = "audit.jsonl"


def check_servable(bundle: Bundle) -> None:
    """Opens everything that serving opens of a bundle, so that one that cannot be served is not promoted.

    Raises:
        BundleError: weights, index or another part cannot be used.
        ConfigError: a model's config is none.
    """
    try:
        QueryFeatureBuilder.open(bundle)
        Retrieval.open(bundle, RetrievalConfig())
        SeenFilter.open(bundle)
        Ranking.open(bundle)
        Reranking.open(bundle)
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise BundleError(f"bundle {bundle.version} cannot be served: {error!r}; build it anew") from error


class Promotions:
    """Promotes bundles and rolls back.

    Args:
        registry: has the pointer.
        audit_file: JSON lines, one a change.
    """

    def __init__(self, registry: Registry, audit_file: Path) -> None:
        self._registry = registry
        self._audit = AuditLog(audit_file)

    def promote(self, version: str, reason: str) -> RegistryEntry:
        """Makes a version production; raises as `Registry.promote`."""
        return self._note(self._registry.promote(version, reason))

    def roll_back(self, reason: str) -> RegistryEntry:
        """Makes the version production that was so before; raises as `Registry.rollback`."""
        return self._note(self._registry.rollback(reason))

    def _note(self, entry: RegistryEntry) -> RegistryEntry:
        self._audit.event(
            "promotion" if entry.action == "promote" else "rollback",
            caller=getpass.getuser(),
            registry=self._registry.uri,
            version=entry.version,
            previous=entry.previous,
            reason=entry.reason,
        )
        return entry
