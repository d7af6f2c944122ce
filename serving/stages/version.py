"""Checks of bundle version and schema, so that no answer mixes two bundles or schemas."""

from __future__ import annotations

from contracts.errors import BundleError


def refuse_other_schema(asked: str, loaded: str) -> None:
    """Refuses queries whose columns are of another schema.

    Args:
        asked: schema digest of the columns.
        loaded: schema digest of the bundle.

    Raises:
        BundleError: the digests differ.
    """
    if asked != loaded:
        raise BundleError(
            f"queries have the columns of schema {asked[:12]}, expected those of {loaded[:12]}, the bundle's; encode "
            "them with its transforms"
        )


def refuse_other_version(asked: str, loaded: str) -> None:
    """Refuses a message of another bundle; the caller may try another replica.

    Raises:
        BundleError: the versions differ.
    """
    if asked != loaded:
        raise BundleError(f"asked for bundle {asked!r}, this replica serves {loaded!r}; ask another replica")
