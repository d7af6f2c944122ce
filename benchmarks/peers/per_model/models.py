"""The fourteen models of the reference one by one, and the stages made of calls to them.

A placement for comparisons only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

import numpy as np

from benchmarks.peers.per_model.parts import (
    CandidateSearch,
    ContextTransform,
    ItemDecoder,
    ItemTransform,
    StoredItems,
    Unroll,
    UserInputTransform,
    fill_context,
    join_query,
)
from contracts.bundle import Bundle
from contracts.errors import StageError
from contracts.ids import IntArray
from contracts.messages import Candidates, QueryFeatures, RequestBatch
from serving.placing.config import StageConfig
from serving.placing.placement import Placement, deployment_of
from serving.placing.stage_table import STAGES, open_stage, open_user_lookup
from serving.running.calls import AsyncCall, StageCall, ThreadCall
from serving.running.load import ComputeThread
from serving.stages.content_lookup import ContentLookup
from serving.stages.query_features import LookedUp
from serving.stages.reranking import Reranking
from serving.stages.retrieval import Retrieval
from serving.stores.connection import StoreConnection

ModelName = Literal[
    "context_preprocessor",
    "user_lookup",
    "user_transform",
    "context_transform",
    "query_tower",
    "candidate_search",
    "item_lookup",
    "item_transform",
    "content_lookup",
    "unroll",
    "ranker",
    "sampling",
    "item_decoder",
]
"""All models but the seen filter (model 4), which is a stage of the product."""
MODELS: Final[tuple[ModelName, ...]] = get_args(ModelName)


def open_model(
    name: str, bundle: Bundle, config: StageConfig, thread: ComputeThread, stores: StoreConnection | None
) -> StageCall:
    """Opens one model, on the CPU.

    Args:
        name: of the model, or of the seen filter.
        bundle: an opened bundle.
        config: settings.
        thread: the replica's compute thread.
        stores: for the user lookup.
    """
    if name == "user_lookup":
        return AsyncCall(open_user_lookup(bundle, config, stores))
    if name == "query_tower":
        from serving.stages.query_tower import QueryTower  # imported only where the model runs, because of torch

        return ThreadCall(QueryTower.open(bundle), thread)
    if name == "candidate_search":
        return ThreadCall(CandidateSearch(bundle, Retrieval.open(bundle, config.retrieval)), thread)
    if name == "ranker":
        from benchmarks.peers.per_model.feature_scorer import FeatureScorer  # torch

        return ThreadCall(FeatureScorer(bundle), thread)
    if name == "context_transform":
        return ThreadCall(ContextTransform(bundle.transforms), thread)
    if name == "content_lookup":
        return ThreadCall(ContentLookup.open(bundle).take, thread)
    simple: dict[str, Any] = {
        "user_transform": UserInputTransform,
        "item_lookup": StoredItems,
        "item_transform": ItemTransform,
        "unroll": Unroll,
        "item_decoder": ItemDecoder,
    }
    if name in simple:
        return ThreadCall(simple[name](bundle), thread)
    if name == "sampling":
        return ThreadCall(Reranking.open(bundle), thread)
    if name == "context_preprocessor":
        return ThreadCall(fill_context, thread)
    return open_stage(name, bundle, config, thread, stores)


def composed_stages(calls: Mapping[str, StageCall]) -> dict[str, StageCall]:
    """The stages by name; all but the `WHOLE` ones call models."""
    composed = ComposedStages(calls)
    return {name: calls[name] if name in WHOLE else getattr(composed, name) for name in STAGES}


class ComposedStages:
    """Stages that call their models one by one.

    Args:
        calls: every model, local or remote.
    """

    def __init__(self, calls: Mapping[str, StageCall]) -> None:
        self._calls = calls

    async def query_features(self, batch: RequestBatch, *, timeout_s: float) -> LookedUp:
        """Models 0 and 1a to 1c."""
        async with asyncio.timeout(timeout_s):
            filled = await self._ask("context_preprocessor", batch)
            records, context = await asyncio.gather(
                self._ask("user_lookup", filled), self._ask("context_transform", filled)
            )
            user = await self._ask("user_transform", filled, records)
        return join_query(filled, records, user, context)

    async def retrieval(self, queries: QueryFeatures, *filters: Any, timeout_s: float) -> Any:
        """Models 2 and 3."""
        async with asyncio.timeout(timeout_s):
            embeddings = await self._ask("query_tower", queries)
            return await self._ask("candidate_search", queries, embeddings, *filters)

    async def ranking(self, queries: QueryFeatures, candidates: Candidates, *, timeout_s: float) -> Any:
        """Models 5a to 6b."""
        if len(candidates.rows) == 0:
            return candidates
        used = _used_rows(queries, candidates)
        async with asyncio.timeout(timeout_s):
            items, content, unrolled = await asyncio.gather(
                self._items(used),
                self._ask("content_lookup", used),
                self._ask("unroll", queries, candidates),
            )
            return await self._ask("ranker", queries, candidates, used, items, content, unrolled)

    async def reranking(self, *messages: Any, timeout_s: float) -> Any:
        """Models 6c and 7; the gateway hydrates by ItemRow, so the raw ids are only counted."""
        async with asyncio.timeout(timeout_s):
            top = await self._ask("sampling", *messages)
            ids = await self._ask("item_decoder", top.items)
        if len(ids) != len(top.items.rows):
            raise StageError(f"item_decoder gave {len(ids)} ids for {len(top.items.rows)} items")
        return top

    async def _items(self, used: IntArray) -> Any:
        return await self._ask("item_transform", used, await self._ask("item_lookup", used))

    async def _ask(self, name: ModelName, *messages: Any) -> Any:
        return await self._calls[name](*messages, timeout_s=float("inf"))


def _used_rows(queries: QueryFeatures, candidates: Candidates) -> IntArray:
    """Distinct ItemRows [U], ascending, of candidates and histories."""
    past = queries.history.rows
    return np.unique(np.concatenate([candidates.rows, past[past >= 0]]))


WHOLE: Final = tuple(name for name in STAGES if not hasattr(ComposedStages, name))
"""The stages that are not made of models: the seen filter, which is model 4 itself."""
PER_MODEL: Final = Placement(
    {deployment_of(name): (name,) for name in (*MODELS, *WHOLE)},
    open=open_model,
    compose=composed_stages,
    reading=frozenset({"user_lookup"}),
)
"""A deployment for each of the fourteen models."""
