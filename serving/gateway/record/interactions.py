"""Accepts posted events: batches requests and writes each batch in one atomic step."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from contracts.bundle import Bundle
from contracts.clock import Clock
from contracts.errors import AllRefusedError, StoreError, TooManyEventsError
from recommender_api.answers import encode
from recommender_api.interactions import InteractionsResponse, RefusedEvent
from recommender_api.shop import ShopTypes
from serving.gateway.queue.batcher import Batcher
from serving.gateway.record.config import InteractionConfig
from serving.gateway.record.events import EventDecoder, EventReader
from serving.gateway.record.quotas import TOO_MANY, EventQuotas, Sender
from serving.stores.config import StoreConfig
from serving.stores.interactions import InteractionStore, NewInteraction, Outcome

_FAILURE_WINDOW_S: Final = 60.0


class EventCounts(NamedTuple):
    """Outcomes of the events of a request."""

    accepted: int
    duplicates: int
    refused: int


class InteractionService:
    """Records events.

    Args:
        bundle: has the catalogue.
        types: of the shop's events.
        store: writes events.
        clock: tells now.
        stores: settings of the store.
        config: limits and batching.
        observe: called with the outcomes of each request.
        until_idle: waits for running recommendations, at most some seconds; None = there are none.
    """

    def __init__(
        self,
        bundle: Bundle,
        types: ShopTypes,
        store: InteractionStore,
        clock: Clock,
        stores: StoreConfig,
        config: InteractionConfig,
        observe: Callable[[EventCounts], None] | None = None,
        until_idle: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._decode = EventDecoder(types)
        self._read = EventReader(bundle, clock, stores, config.max_future_s)
        self._quotas = EventQuotas(config.quotas)
        self._store = store
        self._batcher: Batcher[Sequence[NewInteraction], Sequence[Outcome]] = Batcher(
            self._write, config.batch, yield_first=self._let_go_first
        )
        self._observe = observe
        self._until_idle = until_idle
        self._yield_ms = config.yield_ms
        self._failure: tuple[float, StoreError] | None = None

    async def record(self, body: bytes, sender: Sender) -> bytes:
        """Records the events in a body and answers with JSON; accepted events are durable.

        Raises:
            RequestError: the body is malformed, or all events are refused.
            TooManyEventsError: all events are above the quotas.
            OverloadedError: too many requests wait.
            StoreError: the store fails; nothing is written.
        """
        checked, wait_s = self._quotas(self._read(self._decode(body)), sender)
        new = [one for one in checked if isinstance(one, NewInteraction)]
        outcomes = iter(await self._batcher.submit(new) if new else ())
        results = [one if isinstance(one, RefusedEvent) else next(outcomes) for one in checked]
        refused = [_erased(index) if one == "erased" else one for index, one in enumerate(results)]
        answer = InteractionsResponse(
            accepted=results.count("accepted"),
            duplicates=results.count("duplicate"),
            refused=[one for one in refused if isinstance(one, RefusedEvent)],
        )
        if self._observe is not None:
            self._observe(EventCounts(answer.accepted, answer.duplicates, len(answer.refused)))
        if len(answer.refused) == len(checked):
            message = f"none of {len(checked)} events was accepted; the first: {answer.refused[0].message}"
            if all(one.code == TOO_MANY for one in answer.refused):
                raise TooManyEventsError(message, refused=answer.refused, retry_after_s=math.ceil(wait_s))
            raise AllRefusedError(message, refused=answer.refused)
        return encode(answer)

    @property
    def failure(self) -> StoreError | None:
        """The error of the last write, if it failed within the last minute."""
        if self._failure is None or time.monotonic() - self._failure[0] > _FAILURE_WINDOW_S:
            return None
        return self._failure[1]

    async def _let_go_first(self, waited_ms: float) -> None:
        """Waits for running recommendations, unless the events have waited long enough."""
        if self._until_idle is not None and waited_ms < self._yield_ms:
            await self._until_idle((self._yield_ms - waited_ms) / 1000)

    async def _write(
        self, requests: Sequence[Sequence[NewInteraction]], _: Sequence[float]
    ) -> Sequence[Sequence[Outcome]]:
        try:
            outcomes = await self._store.add([one for request in requests for one in request])
        except StoreError as error:
            self._failure = time.monotonic(), error
            raise
        self._failure = None
        ends = accumulate((len(request) for request in requests), initial=0)
        return [outcomes[start:end] for start, end in pairwise(ends)]


def _erased(index: int) -> RefusedEvent:
    return RefusedEvent(index, "erased_user", "the user was erased; events are taken again under a new user id")
