"""Opens stage groups for a bundle; whoever opens only some of them loads only what those need."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

import numpy as np

from contracts.bundle import Bundle
from contracts.errors import ConfigError, StoreError
from contracts.messages import RequestBatch
from serving.calls import AsyncCall, ThreadCall
from serving.config import ServingConfig
from serving.connection import StoreConnection
from serving.load import ComputeThread
from serving.pipeline import Fallbacks, StageCall
from serving.stages.query_features import QueryFeatureBuilder, QueryFeatureStage
from serving.stages.ranking import Ranking
from serving.stages.reranking import Reranking
from serving.stages.retrieval import Retrieval
from serving.stages.seen_filter import SeenFilter
from serving.stages.user_lookup import UserLookup
from serving.stores.recent import RecentItemStore
from serving.stores.seen import ring_layout
from serving.stores.user_features import UserFeatureStore

GroupName = Literal["query_features", "retrieval", "seen_filter", "ranking", "reranking"]
GROUPS: Final[tuple[GroupName, ...]] = get_args(GroupName)
_WARM_UP_SIZES: Final = (1, 32)
_log = logging.getLogger(__name__)


def open_group(
    name: str, bundle: Bundle, config: ServingConfig, thread: ComputeThread, stores: StoreConnection | None
) -> StageCall:
    """Opens one stage group.

    Args:
        name: which.
        bundle: an opened bundle.
        config: settings.
        thread: the replica's compute thread.
        stores: the stores; None will do for groups that read none.

    Raises:
        ConfigError: there is no such group, or it reads stores and got none.
    """
    if name == "query_features":
        return AsyncCall(QueryFeatureStage(open_user_lookup(config, stores), QueryFeatureBuilder.open(bundle)))
    if name == "retrieval":
        return ThreadCall(Retrieval.open(bundle, config.retrieval, config.device), thread)
    if name == "ranking":
        return ThreadCall(Ranking.open(bundle, config.device), thread)
    if name == "seen_filter":
        return ThreadCall(SeenFilter.open(bundle), thread)
    if name == "reranking":
        return ThreadCall(Reranking.open(bundle), thread)
    raise ConfigError(f"there is no stage group {name!r}; legal names: {', '.join(GROUPS)}")


def open_user_lookup(config: ServingConfig, stores: StoreConnection | None) -> UserLookup:
    """Opens the user lookup.

    Raises:
        ConfigError: there are no stores.
    """
    if stores is None:
        raise ConfigError("the user lookup reads stores and got no connection; open one with StoreConnection.open")
    opened = (stores.config, stores.address, stores.client)
    return UserLookup(UserFeatureStore(*opened), RecentItemStore(*opened), config.pipeline)


async def warm_up(parts: Mapping[Any, StageCall], bundle: Bundle, config: ServingConfig) -> None:
    """Runs made-up batches through opened groups, so that the first visitor does not pay for lazy loading.

    What is no group is warmed up by the gateway's probe, which calls everything.
    """
    groups = {name: call for name, call in parts.items() if name in GROUPS}
    fallbacks = Fallbacks.open(bundle, config.retrieval.retrieval_k)
    for size in _WARM_UP_SIZES:
        batch = _made_up_batch(bundle, config, size)
        queries = fallbacks.anonymous(batch).features
        candidates = fallbacks.popular(queries)
        rings = ring_layout(config.stores).open([None] * size, today=0)
        messages = {
            "query_features": (batch,),
            "retrieval": (queries,),
            "seen_filter": (candidates, rings),
            "ranking": (queries, candidates),
            "reranking": (candidates, batch.k),
        }
        for name, group in groups.items():
            try:
                await group(*messages[name], timeout_s=float("inf"))
            except StoreError as error:
                _log.warning("%s not warmed up: %s", name, error)


def _made_up_batch(bundle: Bundle, config: ServingConfig, size: int) -> RequestBatch:
    nothing = (None,) * size
    return RequestBatch(
        bundle_version=bundle.version,
        now=config.clock().now(),
        request_ids=("warm-up",) * size,
        user_ids=("warm-up",) * size,
        session_ids=nothing,
        recent_items=((),) * size,
        device_types=nothing,
        context_time=np.zeros(size, dtype=np.int64),
        k=np.full(size, 10, dtype=np.int32),
        budget_ms=np.full(size, np.inf, dtype=np.float32),
    )
