"""Requests checked against the catalogue and the clock, and gathered in batches for the pipeline."""

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
from contracts.options import CAPPED_COLUMNS, Ragged
from recommender_api.requests import MAX_CANDIDATES, RankingRequest, RecommendationRequest
from serving.gateway.recommend.config import ExplorationConfig
from serving.gateway.recommend.exploration import Explorer
from serving.gateway.recommend.filters import FilterReader, RequestFilters, gather_filters
from serving.gateway.recommend.provided import ProvidedCandidates
from serving.gateway.recommend.reranking import RequestReranking, RerankingReader, gather_reranking
from serving.gateway.request_ids import RequestId
from serving.gateway.shop.context import ContextReader
from serving.stages.config import RerankingConfig


class Asked(NamedTuple):
    """A checked request.

    Attributes:
        request_id: its own id, see `RequestId`.
        request: what was sent.
        filters: of items; None = none.
        reranking: its reranking options; None = greedy.
        provided: candidates to rank; None = it wants recommendations.
        budget_ms: milliseconds from arrival to answer; None = as configured.
        explored: whether its visitor explores, see `serving.gateway.recommend.exploration`.
        context: values of the shop's context by column; None = none.
    """

    request_id: str
    request: RecommendationRequest | RankingRequest
    filters: RequestFilters | None = None
    reranking: RequestReranking | None = None
    provided: ProvidedCandidates | None = None
    budget_ms: float | None = None
    explored: bool = False
    context: dict[str, ContextValue] | None = None

    @property
    def k(self) -> int:
        """Items wanted."""
        return MAX_CANDIDATES if self.request.k is None else self.request.k

    @property
    def subject(self) -> str | None:
        """The user, else the session, whose history and seen items count; None = anonymous."""
        return subject_of(self.request.user_id, self.request.session_id)


class RequestReader:
    """Checks requests and looks up their names.

    Args:
        bundle: has the catalogue.
        clock: tells now.
        reranking: default reranking options.
        exploration: who explores.
    """

    def __init__(
        self, bundle: Bundle, clock: Clock, reranking: RerankingConfig, exploration: ExplorationConfig
    ) -> None:
        self._bundle = bundle
        self._clock = clock
        self._filters = FilterReader(bundle)
        self.context = ContextReader(bundle.schema)
        self._reranking = RerankingReader(reranking, [one for one in CAPPED_COLUMNS if not bundle.has_values(one)])
        self._explores = Explorer(exploration)
        self._first_time = bundle.transforms.calendar.start_of_day(name_to_day(bundle.manifest.first_day))

    def __call__(self, request: RecommendationRequest | RankingRequest, request_id: RequestId) -> Asked:
        """Reads a request.

        Raises:
            RequestError: the timestamp is out of range, or a filter is invalid.
        """
        self._check_time(request.timestamp or 0)
        filters, context = self._filters(request), self.context.values(request.context)
        if isinstance(request, RankingRequest):
            provided = ProvidedCandidates.read(request.candidate_ids, self._bundle)
            reranking = self._reranking(request, request_id.sent)
            return Asked(request_id.own, request, filters, reranking, provided, context=context)
        explored = self._explores(request, request_id.sent)
        reranking = explored or self._reranking(request, request_id.sent)
        return Asked(request_id.own, request, filters, reranking, explored=explored is not None, context=context)

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
    """A batch of requests that either all provide candidates or all want recommendations.

    Args:
        asked: B requests.
        bundle_version: the version that answers.
        now: Unix seconds.
        budget_ms: milliseconds that each request has left.
        context: reads their contexts.
    """
    requests = [one.request for one in asked]
    devices = tuple(request.device_type for request in requests)
    provided = [one.provided.rows for one in asked if one.provided is not None]
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
        filters=gather_filters([one.filters for one in asked]),
        provided=Ragged.of(provided) if provided else None,
        reranking=gather_reranking([one.reranking for one in asked]),
    )
