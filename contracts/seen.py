"""What a store tells about seen items, whichever way it keeps them: whole filters, or answers about given items."""

from __future__ import annotations

from typing import Protocol

from contracts.ids import BoolArray, IntArray, LongArray, Words


class SeenAnswers(Protocol):
    """Knows which of some items were seen."""

    @property
    def unreadable(self) -> frozenset[int]:
        """Those of the B subjects about whom the store holds something that cannot be read; nothing is filtered."""
        ...

    def seen(self, hashes: Words, owners: LongArray) -> BoolArray:
        """[T]: whether the items with hashes [T, 2] were seen by their owners [T]."""
        ...


class SeenFilters(Protocol):
    """What the store told about the seen items of B subjects before anybody knew which items matter."""

    @property
    def filled(self) -> LongArray:
        """Those of the B subjects that have seen something."""
        ...

    async def about(self, hashes: Words, rows: IntArray, owners: LongArray) -> SeenAnswers:
        """Answers about the items `rows` [T], hashes of every item [I, 2], for their owners [T].

        Raises:
            StoreError: the store had to be asked again and does not answer in time.
        """
        ...
