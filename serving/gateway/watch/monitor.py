"""Status and readiness of a gateway, for `/v1/status` and `/v1/ready`."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

import msgspec

from contracts.bundle import Bundle
from contracts.clock import Clock
from contracts.errors import StageError, StoreError
from recommender_api.answers import BundleStatus, Status
from recommender_api.requests import RecommendationRequest
from serving.gateway.recommend.asked import Asked
from serving.gateway.recommend.service import RecommendationService
from serving.gateway.record.interactions import InteractionService
from serving.placing.stage_table import STAGES
from serving.stores.connection import StoreConnection
from serving.stores.meta import read_meta

WHOLE_IN_A_ROW: Final = 5
"""Consecutive undegraded answers within the budget until a gateway is warm."""
WARM_TIMEOUT_S: Final = 60.0
"""After this time a gateway is ready if all models answer, however slowly."""
_PROBE_PAUSE_S: Final = 0.5
_WARM_PAUSE_S: Final = 0.02
_NEEDED: Final = frozenset(name for name, stage in STAGES.items() if stage.makes_ready)
_PROBE: Final = Asked("probe", RecommendationRequest(user_id="probe"))
"""A request of a user, to warm up the connections to the stores; stores that are down do not prevent readiness."""
_log = logging.getLogger(__name__)


class Monitor:
    """Watches one gateway.

    Args:
        bundle: the bundle that answers.
        placement: name of the placement.
        service: answers requests.
        interactions: records events.
        clock: tells now.
        stores: the stores.
    """

    def __init__(
        self,
        bundle: Bundle,
        placement: str,
        service: RecommendationService,
        interactions: InteractionService,
        clock: Clock,
        stores: StoreConnection,
    ) -> None:
        self._bundle = bundle
        self._placement = placement
        self._service = service
        self._interactions = interactions
        self._clock = clock
        self._stores = stores
        self._ready = False

    async def probe(self) -> None:
        """Sends made-up requests until all models answer, several times in a row within the budget.

        Then the gateway is ready; or after a minute, if the machine stays too slow for the budget. The first calls
        take longest, and slow stages are skipped for a while.
        """
        while await self._lacking(float("inf")):
            await asyncio.sleep(_PROBE_PAUSE_S)
        deadline, row = time.monotonic() + WARM_TIMEOUT_S, 0
        while row < WHOLE_IN_A_ROW and time.monotonic() < deadline:
            lacking = await self._lacking(self._service.budget_ms)
            row = 0 if lacking else row + 1
            await asyncio.sleep(_WARM_PAUSE_S)
        if row < WHOLE_IN_A_ROW:
            _log.warning("too slow for service.budget_ms=%g: answers lack %s", self._service.budget_ms, sorted(lacking))
        self._ready = True

    async def _lacking(self, budget_ms: float) -> frozenset[str]:
        """The stages that do not answer a made-up request within the budget."""
        try:
            result = await self._service.run([_PROBE], [budget_ms])
        except StageError as error:
            _log.info("not ready: %s", error)
            return _NEEDED
        return _NEEDED.intersection(result.degraded[0])

    @property
    def ready(self) -> bool:
        """Whether all models have answered and are warm."""
        return self._ready

    @property
    def interactions_code(self) -> str:
        """`ok`, or the code of the error that prevents recording of events; recommendations still work."""
        failure = self._interactions.failure
        return "ok" if failure is None else failure.code

    async def status(self) -> Status:
        """The current status."""
        failure = self._interactions.failure
        interactions = "ok" if failure is None else failure.message
        return Status(
            ready=self._ready,
            bundle=msgspec.convert(self._bundle.manifest, BundleStatus, from_attributes=True),
            placement=self._placement,
            now=self._clock.now(),
            stores={"online": await self._store_state(), "interactions": interactions},
            degraded=self._service.degraded,
        )

    async def _store_state(self) -> str:
        try:
            meta = await read_meta(self._stores)
        except StoreError as error:
            return error.message
        return "ok" if meta is not None else "empty; run the materialize job"
