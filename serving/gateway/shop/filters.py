"""Which columns of items requests may filter by."""

from __future__ import annotations

from collections.abc import Iterable

from contracts.bundle import Bundle
from contracts.errors import RequestError


def legal_filters(bundle: Bundle) -> tuple[str, ...]:
    """The columns that the schema opens to filters and that the shop's items have."""
    names = (feature.column_name for feature in bundle.schema.filters)
    return tuple(name for name in names if bundle.has_values(name))


def check_filters(columns: Iterable[str], legal: tuple[str, ...]) -> None:
    """Refuses a filter on another column.

    Raises:
        RequestError: names the column and the legal ones.
    """
    for column in columns:
        if column not in legal:
            raise RequestError(
                f"filters: this shop's items cannot be filtered by {column}; legal: {', '.join(legal) or 'none'}"
            )
