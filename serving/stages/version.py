"""The guard of every stage: no answer may mix two bundles."""

from __future__ import annotations

from contracts.errors import BundleError


def refuse_other_version(asked: str, loaded: str) -> None:
    """Refuses a message of another bundle; the caller may try another replica.

    Raises:
        BundleError: the versions differ.
    """
    if asked != loaded:
        raise BundleError(f"asked for bundle {asked!r}, this replica serves {loaded!r}; ask another replica")
