"""Every stage, once, in the order of the pipeline: how to open it and warm it up, and what runs at the same time.

Opening a stage imports only what it needs. `serving.running.steps.OnError` has the policies of the stages, and
`serving.pipeline.Stages` their messages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from contracts.bundle import Bundle
from contracts.errors import ConfigError, StoreError
from contracts.messages import Candidates, QueryFeatures, RequestBatch
from contracts.user_records import UserRecords
from serving.placing.config import StageConfig
from serving.running.calls import AsyncCall, StageCall, ThreadCall
from serving.running.load import ComputeThread

if TYPE_CHECKING:
    from serving.stages.user_lookup import UserLookup
    from serving.stores.connection import StoreConnection

LocalStage: TypeAlias = Callable[..., Any]
"""A stage of any type in this process."""
_WARM_UP_SIZES: Final = (1, 32)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MadeUp:
    """Made-up messages for warm-up."""

    batch: RequestBatch
    queries: QueryFeatures
    candidates: Candidates


@dataclass(frozen=True)
class StageEntry:
    """One stage.

    Attributes:
        open: opens it for a bundle; the stores are None if it reads none.
        made_up: picks its messages for warm-up.
        beside: the stage that it runs at the same time as.
        reads_stores: whether it waits for the stores, so that it runs on the event loop; the others compute.
        makes_ready: whether a gateway becomes ready only if it answers.
    """

    open: Callable[[Bundle, StageConfig, StoreConnection | None], LocalStage]
    made_up: Callable[[MadeUp], tuple[object, ...]]
    beside: str | None = None
    reads_stores: bool = False
    makes_ready: bool = True


def _query_features(bundle: Bundle, config: StageConfig, stores: StoreConnection | None) -> LocalStage:
    from serving.stages.query_features import QueryFeatureBuilder, QueryFeatureStage

    return QueryFeatureStage(open_user_lookup(bundle, config, stores), QueryFeatureBuilder.open(bundle))


def _retrieval(bundle: Bundle, config: StageConfig, stores: StoreConnection | None) -> LocalStage:
    from serving.stages.retrieval import Retrieval

    return Retrieval.open(bundle, config.retrieval, config.device)


def _seen_filter(bundle: Bundle, config: StageConfig, stores: StoreConnection | None) -> LocalStage:
    from serving.stages.seen_filter import SeenFilter

    return SeenFilter.open(bundle)


def _made_up_seen(made_up: MadeUp) -> tuple[object, ...]:
    from contracts.bloom import RingLayout

    nobody = [None] * len(made_up.batch)
    return made_up.candidates, RingLayout(error_rate=0.01, window_days=7).open(nobody, today=0)


def _ranking(bundle: Bundle, config: StageConfig, stores: StoreConnection | None) -> LocalStage:
    from serving.stages.ranking import Ranking

    return Ranking.open(bundle, config.device)


def _reranking(bundle: Bundle, config: StageConfig, stores: StoreConnection | None) -> LocalStage:
    from serving.stages.reranking import Reranking

    return Reranking.open(bundle)


STAGES: Final[Mapping[str, StageEntry]] = {
    "query_features": StageEntry(_query_features, lambda made_up: (made_up.batch,), reads_stores=True),
    "retrieval": StageEntry(_retrieval, lambda made_up: (made_up.queries,)),
    "seen_filter": StageEntry(_seen_filter, _made_up_seen, beside="ranking", makes_ready=False),
    "ranking": StageEntry(_ranking, lambda made_up: (made_up.queries, made_up.candidates)),
    "reranking": StageEntry(_reranking, lambda made_up: (made_up.candidates, made_up.batch.k)),
}
"""The stages by name, in the order of the pipeline."""
SEQUENCE: Final = tuple(
    (name, *(other for other, entry in STAGES.items() if entry.beside == name))
    for name, stage in STAGES.items()
    if stage.beside is None
)
"""The names of the stages in order; those in one tuple run at the same time."""


def open_stage(
    name: str, bundle: Bundle, config: StageConfig, thread: ComputeThread, stores: StoreConnection | None
) -> StageCall:
    """Opens one stage.

    Args:
        name: of the stage.
        bundle: an opened bundle.
        config: settings.
        thread: the replica's compute thread.
        stores: the stores; may be None for a stage that reads none.

    Raises:
        ConfigError: there is no such stage, or it reads the stores and there are none.
    """
    if name not in STAGES:
        raise ConfigError(f"there is no stage {name!r}; legal names: {', '.join(STAGES)}")
    stage = STAGES[name].open(bundle, config, stores)
    return AsyncCall(stage) if STAGES[name].reads_stores else ThreadCall(stage, thread)


def open_user_lookup(bundle: Bundle, config: StageConfig, stores: StoreConnection | None) -> UserLookup:
    """Opens the user lookup for a bundle's columns of users.

    Raises:
        ConfigError: there are no stores.
    """
    if stores is None:
        raise ConfigError("the user lookup reads stores and got no connection; open one with StoreConnection.open")
    from serving.stages.user_lookup import UserLookup
    from serving.stores.recent import RecentItemStore
    from serving.stores.user_features import UserFeatureStore

    return UserLookup(UserFeatureStore(stores, bundle.schema), RecentItemStore(stores), config.pipeline)


async def warm_up(calls: Mapping[str, StageCall], bundle: Bundle, config: StageConfig) -> None:
    """Sends made-up batches through opened stages, so that lazy loading does not delay the first request.

    Calls that are no stages, in a placement of your own, are warmed up by the gateway's probe.
    """
    from serving.stages.popular import PopularItems
    from serving.stages.query_features import QueryFeatureBuilder

    stages = {name: call for name, call in calls.items() if name in STAGES}
    features, popular = QueryFeatureBuilder.open(bundle), PopularItems.open(bundle, config.retrieval.retrieval_k)
    for size in _WARM_UP_SIZES:
        batch = _made_up_batch(bundle, config, size)
        queries = features(batch, UserRecords.anonymous(size)).features
        made_up = MadeUp(batch, queries, popular(queries))
        for name, call in stages.items():
            try:
                await call(*STAGES[name].made_up(made_up), timeout_s=float("inf"))
            except StoreError as error:
                _log.warning("%s not warmed up: %s", name, error)


def _made_up_batch(bundle: Bundle, config: StageConfig, size: int) -> RequestBatch:
    """Requests of a user, so that the stores are read."""
    nobody = RequestBatch.anonymous(bundle.version, config.clock().now(), np.full(size, 10, dtype=np.int32))
    return replace(nobody, user_ids=("warm-up",) * size)
