"""Changes of the production pointer; each is in the audit log or does not happen.

One line before a change has its caller and reason, one line after it the old and the new version.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path

from contracts.bundle import Bundle
from contracts.errors import BundleError
from contracts.registry import Registry, RegistryEntry
from serving.gateway.access.audit import AuditLog
from serving.stages.config import RetrievalConfig
from serving.stages.query_features import QueryFeatureBuilder
from serving.stages.ranking import Ranking
from serving.stages.reranking import Reranking
from serving.stages.retrieval import Retrieval
from serving.stages.seen_filter import SeenFilter


def check_servable(bundle: Bundle) -> None:
    """Opens a bundle as serving does, so that a bundle that cannot be served is not promoted.

    Raises:
        BundleError: weights, index or another part cannot be used.
        ConfigError: a model's config is not legal.
    """
    try:
        QueryFeatureBuilder.open(bundle)
        Retrieval.open(bundle, RetrievalConfig())
        SeenFilter.open(bundle)
        Ranking.open(bundle)
        Reranking.open(bundle)
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise BundleError(f"bundle {bundle.version} cannot be served: {error!r}; rebuild it") from error


class Promotions:
    """Promotes bundles and rolls back.

    Args:
        registry: holds the pointer.
        audit_file: JSON lines.
    """

    def __init__(self, registry: Registry, audit_file: Path) -> None:
        self._registry = registry
        self._audit = AuditLog(audit_file)

    def promote(self, version: str, reason: str) -> RegistryEntry:
        """Makes a version production.

        Raises:
            AuditError: the audit log cannot be written.
            RegistryError: as `Registry.promote`.
        """
        return self._audited("promotion", lambda: self._registry.promote(version, reason), reason, version=version)

    def roll_back(self, reason: str) -> RegistryEntry:
        """Makes the previous version production; raises as `promote`."""
        return self._audited("rollback", lambda: self._registry.rollback(reason), reason)

    def _audited(self, event: str, act: Callable[[], RegistryEntry], reason: str, **known: str) -> RegistryEntry:
        common = {"caller": getpass.getuser(), "registry": self._registry.uri, "reason": reason}
        self._audit.event(f"{event}_begun", **common, **known)
        entry = act()
        self._audit.event(event, **common, version=entry.version, previous=entry.previous)
        return entry
