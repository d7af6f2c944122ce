"""Seen filter: removes items that the subject has interacted with in the last days."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from contracts.bundle import Bundle
from contracts.clock import ShopCalendar
from contracts.ids import Words
from contracts.messages import Candidates, FilterResult, RequestBatch
from contracts.seen import SeenAnswers, SeenFilters
from serving.stages.version import refuse_other_version

SEEN: Final = "seen"


@dataclass(frozen=True)
class SeenEarly:
    """Seen items of a batch, read before its candidates are known.

    Attributes:
        filters: of the B subjects.
        hashes: Bloom hashes of every item, [I, 2] uint64.
    """

    filters: SeenFilters
    hashes: Words

    async def about(self, candidates: Candidates) -> SeenAnswers:
        """The answers that the filter needs for these candidates.

        Raises:
            StoreError: it asks the store again, which does not answer in time.
        """
        return await self.filters.about(self.hashes, candidates.rows, candidates.owners)


SeenReader = Callable[[RequestBatch], Awaitable[SeenEarly]]
"""Reads the seen items of a batch; the pipeline starts it early."""


class SeenFilterReader(Protocol):
    """Reads seen items; `serving.stores` has the one on Redis."""

    async def read(self, subjects: Sequence[str | None], today: int) -> SeenFilters:
        """What B subjects saw in the window that ends today, a shop-local day; None has seen nothing.

        Raises:
            StoreError: the store does not answer in time.
        """
        ...


class SeenFilter:
    """Splits candidates into unseen and seen.

    Reference model: 4 filter_seen_items
    Input: candidates, the store's answers about them for the subjects of the requests
    Output: kept and removed candidates, together all of them
    Artifacts: `bloom/hashes`; daily filters in Redis
    Failure: nothing is filtered, `seen_filter` in `degraded`
    Cadence: with each interaction, a new filter each shop-local day

    Args:
        bundle_version: the version that it serves; messages of other versions are refused.
        hashes: Bloom hashes of every item, [I, 2] uint64.
    """

    def __init__(self, bundle_version: str, hashes: Words) -> None:
        self._version = bundle_version
        self._hashes = hashes

    @classmethod
    def open(cls, bundle: Bundle) -> SeenFilter:
        """Maps the hashes of a bundle."""
        return cls(bundle.version, bundle.array("bloom/hashes"))

    def __call__(self, candidates: Candidates, answers: SeenAnswers) -> FilterResult:
        """Filters candidates.

        Raises:
            BundleError: the candidates are of another bundle version.
        """
        refuse_other_version(candidates.bundle_version, self._version)
        seen = answers.seen(self._hashes[candidates.rows], candidates.owners)
        return FilterResult(candidates, ~seen, SEEN)


def seen_reader(store: SeenFilterReader, calendar: ShopCalendar, hashes: Words) -> SeenReader:
    """A reader of a store; the window ends on the shop-local day of the batch's now.

    Args:
        store: has the seen items.
        calendar: of the shop.
        hashes: Bloom hashes of every item, [I, 2] uint64.
    """

    async def read(batch: RequestBatch) -> SeenEarly:
        today = calendar.day(np.array(batch.now, dtype=np.int64))
        return SeenEarly(await store.read(batch.subjects, int(today)), hashes)

    return read
