"""Who calls, and what the caller may do."""

from __future__ import annotations

from typing import NamedTuple


class Caller(NamedTuple):
    """The name and permissions of a caller."""

    name: str
    permissions: frozenset[str]
