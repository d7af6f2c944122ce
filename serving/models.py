"""The fourteen models of the reference one by one, and the stage groups made of calls to them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

import numpy as np

from contracts.bundle import Bundle
from contracts.errors import StageError
from contracts.ids import IntArray
from contracts.messages import Candidates, QueryFeatures, RequestBatch
from serving.calls import ThreadCall
from serving.config import ServingConfig
from serving.load import ComputeThread
from serving.pipeline import StageCall
from serving.stages.content_lookup import ContentLookup
from serving.stages.item_lookup import ItemLookup
from serving.stages.query_features import LookedUp
from serving.stages.reranking import Reranking
from serving.stages.retrieval import Retrieval
from serving.stages.single_models import (
    ContextTransform,
    ItemDecoder,
    ItemTransform,
    Unroll,
    UserInputTransform,
    join_query,
)

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
"""All but the seen filter (model 4), which is a stage group by itself."""
MODELS: Final[tuple[ModelName, ...]] = get_args(ModelName)


def open_model(name: ModelName, bundle: Bundle, config: ServingConfig, thread: ComputeThread) -> StageCall:
    """Opens one model; the user lookup is opened with its stores by `serving.groups`.

    Args:
        name: which.
        bundle: an opened bundle.
        config: settings.
        thread: the replica's compute thread.
    """
    if name == "query_tower":
        from serving.stages.query_tower import QueryTower  # torch: only where the model runs

        return ThreadCall(QueryTower.open(bundle), thread)
    if name == "candidate_search":
        return ThreadCall(Retrieval.open(bundle, config.retrieval).search, thread)
    if name == "ranker":
        from serving.stages.feature_scorer import FeatureScorer  # torch

        return ThreadCall(FeatureScorer(bundle), thread)
    if name == "context_transform":
        return ThreadCall(ContextTransform(bundle.transforms), thread)
    if name == "item_lookup":
        return ThreadCall(ItemLookup.open(bundle).take, thread)
    if name == "content_lookup":
        return ThreadCall(ContentLookup.open(bundle).take, thread)
    simple: dict[str, Any] = {
        "user_transform": UserInputTransform,
        "item_transform": ItemTransform,
        "unroll": Unroll,
        "item_decoder": ItemDecoder,
    }
    if name in simple:
        return ThreadCall(simple[name](bundle), thread)
    return ThreadCall(fill_context if name == "context_preprocessor" else Reranking.open(bundle), thread)


def fill_context(batch: RequestBatch) -> RequestBatch:
    """Model 0: a request without a time is of now; a missing device stays missing."""
    times = np.where(batch.context_time == 0, batch.now, batch.context_time)
    return dataclasses.replace(batch, context_time=times)


def composed_groups(calls: Mapping[Any, StageCall]) -> dict[str, StageCall]:
    """The stage groups made of models, by name; none where no model stands alone."""
    if not set(MODELS) <= calls.keys():
        return {}
    composed = ComposedGroups(calls)
    return {name: getattr(composed, name) for name in ("query_features", "retrieval", "ranking", "reranking")}


class ComposedGroups:
    """Stage groups whose models are called one by one.

    Args:
        calls: every model, local or remote.
    """

    def __init__(self, calls: Mapping[Any, StageCall]) -> None:
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

    async def retrieval(self, queries: QueryFeatures, *limits: Any, timeout_s: float) -> Any:
        """Models 2 and 3."""
        async with asyncio.timeout(timeout_s):
            embeddings = await self._ask("query_tower", queries)
            return await self._ask("candidate_search", queries, embeddings, *limits)

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
