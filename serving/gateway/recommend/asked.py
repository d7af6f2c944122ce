"""Requests as the pipeline takes them: looked up, checked against the catalogue and the clock, and put in a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from contracts import columns as c
from contracts.bundle import Bundle
from contracts.clock import DAY_S, Clock, name_to_day
from contracts.errors import RequestError
from contracts.ids import subject_of
from contracts.messages import ContextValue, RequestBatch
from contracts.options import Ragged
from recommender_api.requests import MAX_CANDIDATES, RankingRequest, RecommendationRequest
from serving.gateway.http.request_ids import RequestId
from serving.gateway.recommend.config import ExplorationConfig
from serving.gateway.recommend.draws import Draw, DrawReader, gather_draws
from serving.gateway.recommend.exploration import Explorer
from serving.gateway.recommend.given import Given
from serving.gateway.recommend.limits import LimitReader, Limits, gather_limits
from serving.gateway.shop.context import ContextReader
from serving.stages.reranking import RerankingConfig


class Asked(NamedTuple):
    """A checked request.

    Attributes:
        request_id: its own id, see `RequestId`.
        request: what was sent.
        limits: items that it limits itself to; None = none.
        draw: how its list is drawn; None = greedily.
        given: items to rank; None = it wants recommendations.
        budget_ms: milliseconds from arrival to answer; None = as configured.
        explored: whether its list is drawn to learn from, see `serving.gateway.recommend.exploration`.
        context: what it tells of the shop's context, by column; None = nothing.
    """

    request_id: str
    request: RecommendationRequest | RankingRequest
    limits: Limits | None = None
    draw: Draw | None = None
    given: Given | None = None
    budget_ms: float | None = None
    explored: bool = False
    context: dict[str, ContextValue] | None = None

    @property
    def k(self) -> int:
        """Items wanted."""
        return MAX_CANDIDATES if self.request.k is None else self.request.k

    @property
    def subject(self) -> str | None:
        """Whose history and seen items count; None = nobody's."""
        return subject_of(self.request.user_id, self.request.session_id)


class RequestReader:
    """Checks requests and looks their names up.

    Args:
        bundle: whose catalogue they speak of.
        clock: tells now.
        reranking: how lists are drawn where a request says nothing else.
        exploration: whose lists are drawn to learn from.
    """

    def __init__(
        self, bundle: Bundle, clock: Clock, reranking: RerankingConfig, exploration: ExplorationConfig
    ) -> None:
        self._bundle = bundle
        self._clock = clock
        self._limits = LimitReader(bundle)
        self.context = ContextReader(bundle.schema)
        self._draws = DrawReader(reranking)
        self._explores = Explorer(exploration)
        self._first_time = bundle.transforms.calendar.start_of_day(name_to_day(bundle.manifest.first_day))

    def __call__(self, request: RecommendationRequest | RankingRequest, request_id: RequestId) -> Asked:
        """A request that can be answered.

        Raises:
            RequestError: the timestamp is out of range, or a filter cannot be meant.
        """
        self._check_time(request.timestamp or 0)
        limits, context = self._limits(request), self.context.told(request.context)
        if isinstance(request, RankingRequest):
            given = Given.read(request.candidate_ids, self._bundle)
            draw = self._draws(request, request_id.sent)
            return Asked(request_id.own, request, limits, draw, given, context=context)
        explored = self._explores(request, request_id.sent)
        draw = explored or self._draws(request, request_id.sent)
        return Asked(request_id.own, request, limits, draw, explored=explored is not None, context=context)

    def _check_time(self, timestamp: int) -> None:
        last = self._clock.now() + DAY_S
        if timestamp and not self._first_time <= timestamp <= last:
            raise RequestError(
                f"timestamp {timestamp} is out of range; expected Unix seconds within [{self._first_time}, {last}], "
                "from the first day of the data to a day from now, or 0 for now",
                first=self._first_time,
                last=last,
            )


def batch_of(
    asked: Sequence[Asked], bundle_version: str, now: int, budget_ms: Sequence[float], context: ContextReader
) -> RequestBatch:
    """The batch of some requests: all of them give items to rank, or none does.

    Args:
        asked: B requests.
        bundle_version: the version that answers.
        now: Unix seconds.
        budget_ms: milliseconds that each may still take.
        context: reads their contexts.
    """
    requests = [one.request for one in asked]
    devices = tuple(request.device_type for request in requests)
    given = [one.given.rows for one in asked if one.given is not None]
    return RequestBatch(
        bundle_version=bundle_version,
        now=now,
        request_ids=tuple(one.request_id for one in asked),
        user_ids=tuple(request.user_id for request in requests),
        session_ids=tuple(request.session_id for request in requests),
        recent_items=tuple(tuple(request.recent_items) for request in requests),
        context={c.DEVICE_TYPE: devices, **context.columns([one.context for one in asked])},
        context_time=np.array([request.timestamp or 0 for request in requests], dtype=np.int64),
        k=np.array([one.k for one in asked], dtype=np.int32),
        budget_ms=np.array(budget_ms, dtype=np.float32),
        constraints=gather_limits([one.limits for one in asked]),
        given=Ragged.of(given) if given else None,
        rerank=gather_draws([one.draw for one in asked]),
    )
