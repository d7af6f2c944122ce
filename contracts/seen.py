"""Seen items as stores answer, independent of the backend: whole filters, or answers about some items."""

from __future__ import annotations

from typing import Protocol

from contracts.ids import BoolArray, IntArray, LongArray, Words


class SeenAnswers(Protocol):
    """Answers about some items."""

    @property
    def unreadable(self) -> frozenset[int]:
        """Those of the B subjects whose data cannot be read; nothing is filtered for them."""
        ...

    def seen(self, hashes: Words, owners: LongArray) -> BoolArray:
        """[T]: whether the items with hashes [T, 2] were seen by their owners [T]."""
        ...


class SeenFilters(Protocol):
    """The seen items of B subjects, read before the candidates are known."""

    @property
    def filled(self) -> LongArray:
        """Those of the B subjects that have seen items."""
        ...

    async def about(self, hashes: Words, rows: IntArray, owners: LongArray) -> SeenAnswers:
        """Answers about ItemRows [T] for their owners [T]; hashes [I, 2] are of every item.

        Raises:
            StoreError: it asks the store again, which does not answer in time.
        """
        ...
