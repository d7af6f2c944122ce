"""Changes of the production pointer, each with a line in the audit log: who, from what, to what, and why."""

from __future__ import annotations

import getpass
from pathlib import Path

from contracts.registry import Registry, RegistryEntry
from serving.gateway.audit import AuditLog

AUDIT_FILE = "audit.jsonl"


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
