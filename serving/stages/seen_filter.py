"""Seen filter: takes out what the subject interacted with in the last days."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.bundle import Bundle
from contracts.clock import ShopCalendar
from contracts.ids import BoolArray, LongArray
from contracts.messages import Candidates, FilterResult, RequestBatch
from serving.stages.version import refuse_other_version
from serving.stores.seen import SeenStore

SEEN: Final = "seen"


class SeenRings(Protocol):
    """The seen rings of B subjects as they came from the store."""

    def seen(self, hashes: NDArray[np.uint64], owners: LongArray) -> BoolArray:
        """[T]: whether the items with hashes [T, 2] are in the rings of their owners [T]."""
        ...


SeenRingReader = Callable[[RequestBatch], Awaitable[SeenRings]]
"""Reads the rings of a batch's subjects, empty for requests without one; the pipeline starts it early."""


class SeenFilter:
    """Splits candidates into unseen and seen.

    Reference model: 4 filter_seen_items
    Input: candidates, seen rings of the requests' subjects
    Output: kept and removed candidates, together what came in
    Artifacts: `bloom/hashes`; rings in Redis
    Failure: nothing is filtered, `seen_filter` in `degraded`
    Cadence: rings with each interaction, a new one each shop-local day

    Args:
        bundle_version: the version that it serves.
        hashes: Bloom hashes of every item, [I, 2] uint64.
    """

    def __init__(self, bundle_version: str, hashes: NDArray[np.uint64]) -> None:
        self._version = bundle_version
        self._hashes = hashes

    @classmethod
    def open(cls, bundle: Bundle) -> SeenFilter:
        """Maps the hashes of a bundle."""
        return cls(bundle.version, bundle.array("bloom/hashes"))

    def __call__(self, candidates: Candidates, rings: SeenRings) -> FilterResult:
        """Kept and removed candidates.

        Raises:
            BundleError: the candidates are of another bundle version.
        """
        refuse_other_version(candidates.bundle_version, self._version)
        seen = rings.seen(self._hashes[candidates.rows], candidates.owners)
        return FilterResult(candidates, ~seen, SEEN)


def seen_ring_reader(store: SeenStore, calendar: ShopCalendar) -> SeenRingReader:
    """Reads rings from a store; the window ends on the shop-local day of the batch's now."""

    async def read(batch: RequestBatch) -> SeenRings:
        today = calendar.day(np.array(batch.now, dtype=np.int64))
        return await store.read(batch.subjects, int(today))

    return read
