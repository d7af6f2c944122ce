"""Refreshes the popular items of the fallback from the interactions of the last days."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import numpy as np

from contracts.bundle import Bundle
from contracts.clock import Clock
from contracts.errors import StoreError
from serving.stages.popular import PopularItems
from serving.stores.popular import PopularityStore
from serving.watching.rate_limited import RateLimitedLogger

_PAUSE_S: Final = 60.0


class FreshPopularity:
    """Reorders popular items once a minute; keeps the order if the store is down or empty.

    Args:
        store: recent popularity of items.
        popular: the items to reorder.
        bundle: has the items.
        clock: tells now.
    """

    def __init__(self, store: PopularityStore, popular: PopularItems, bundle: Bundle, clock: Clock) -> None:
        self._store = store
        self._popular = popular
        self._bundle = bundle
        self._clock = clock
        self._warn = RateLimitedLogger(logging.getLogger(__name__))

    async def refresh(self) -> None:
        """Reorders items by their weight; items without recent interactions follow in the bundle's order.

        Raises:
            StoreError: the store does not answer in time.
        """
        today = int(self._bundle.transforms.calendar.day(np.array(self._clock.now())))
        weights = await self._store.read(today)
        rows = self._bundle.rows_of(tuple(weights))
        by_weight = np.argsort(-np.array(list(weights.values())), kind="stable")
        self._popular.put_first(rows[by_weight][rows[by_weight] >= 0])

    async def run(self) -> None:
        """Refreshes until cancelled."""
        while True:
            try:
                await self.refresh()
            except StoreError as error:
                self._warn.warning("fresh popular items", error)
            await asyncio.sleep(_PAUSE_S)
