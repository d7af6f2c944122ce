"""The bundle that every model opens, and conversions of the tensors between models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.peers.per_model.parts import context_features, user_features
from benchmarks.peers.triton.spec import Model, fourteen_models
from contracts.bundle import Bundle, open_bundle
from contracts.encoded import EncodedColumns, joined
from contracts.feature import Side
from contracts.features import History
from contracts.history import StoredReader
from contracts.ids import AnyArray, FloatArray, IntArray
from contracts.messages import QueryFeatures, RequestBatch
from contracts.presets import SHOP
from contracts.schema import SideLayout
from serving.config import ServingConfig
from serving.stores.connection import StoreConnection


@dataclass(frozen=True)
class OpenedShop:
    """The open files and stores of a model's process.

    Attributes:
        config: settings of serving; `stores.address` is set.
        bundle: an opened bundle.
        models: the specification.
        runner: runs the calls to the stores, one after the other.
    """

    config: ServingConfig
    bundle: Bundle
    models: dict[str, Model]
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)

    @cached_property
    def stores(self) -> StoreConnection:
        """The connection of this process."""
        assert self.config.stores.address is not None
        return StoreConnection.open(self.config.stores, self.config.stores.address)

    def close(self) -> None:
        """Ends the connection."""
        self.runner.run(self.stores.client.aclose())
        self.runner.close()

    @property
    def now(self) -> int:
        return self.config.clock().now()


def opened_shop(settings: str) -> OpenedShop:
    """Opens the bundle that serving settings (JSON) name by its folder.

    Raises:
        ValueError: its schema is not the preset: the tensors of this peer are the preset's columns.
    """
    config = ServingConfig.model_validate(json.loads(settings))
    assert config.bundle is not None
    bundle = open_bundle(f"{config.registry}/{config.bundle}", verify=False)
    if bundle.schema != SHOP:
        raise ValueError(f"bundle {bundle.version} has columns of its own; this peer serves the preset 'shop' only")
    sizes = history_length(bundle), config.retrieval.retrieval_k, bundle.array("two_tower/candidate").shape[1]
    return OpenedShop(config, bundle, fourteen_models(*sizes))


def history_length(bundle: Bundle) -> int:
    """Longest history that one of the bundle's models reads.

    Raises:
        ValueError: no model reads a history; Triton has no empty tensors.
    """
    readers = [StoredReader.of(bundle.model_entry(model).config) for model in ("two_tower", "ranker")]
    longest = max(reader.history_length for reader in readers)
    if longest == 0:
        raise ValueError(f"bundle {bundle.version} reads no history; this peer needs a model that does")
    return longest


def use_one_thread() -> None:
    """Keeps torch to one thread: each model has a process of its own."""
    import torch

    torch.set_num_threads(1)


def without_fallbacks(config: ServingConfig) -> ServingConfig:
    """Settings under which a store that does not answer is an error: this peer has no fallbacks."""
    values = config.model_dump(mode="json", exclude_unset=True) | {"pipeline": {"on_error": {"query_features": "fail"}}}
    return ServingConfig.model_validate(values)


async def called(function: Callable[[RequestBatch], Any], batch: RequestBatch) -> Any:
    """Awaits a function that must be called while an event loop runs."""
    return await function(batch)


def texts_of(values: AnyArray) -> list[str | None]:
    """Strings of a BYTES tensor [B, 1]; an empty one becomes None."""
    return [value.decode() or None for value in values[:, 0]]


def bytes_of(values: Any) -> AnyArray:
    """A BYTES tensor [B, 1] of strings; None becomes an empty one."""
    return np.array([[(value or "").encode()] for value in values], dtype=object)


def subjects_batch(shop: OpenedShop, user_id: AnyArray, session_id: AnyArray) -> RequestBatch:
    """A batch of requests with subjects, for reading the stores."""
    return request_batch(shop, len(user_id), user_ids=tuple(texts_of(user_id)), session_ids=tuple(texts_of(session_id)))


def request_batch(shop: OpenedShop, size: int, **told: Any) -> RequestBatch:
    """A batch of requests with defaults for the other fields."""
    values: dict[str, Any] = {
        "bundle_version": shop.bundle.version,
        "now": shop.now,
        "request_ids": ("",) * size,
        "user_ids": (None,) * size,
        "session_ids": (None,) * size,
        "recent_items": ((),) * size,
        "context": {},
        "context_time": np.zeros(size, dtype=np.int64),
        "k": np.ones(size, dtype=np.int32),
        "budget_ms": np.full(size, shop.config.service.budget_ms, dtype=np.float32),
    }
    return RequestBatch(**values | told)


def query_columns(
    shop: OpenedShop, user: IntArray, age: FloatArray, device: IntArray, waves: FloatArray
) -> EncodedColumns:
    """The columns of the query side, from models 1b and 1c."""
    schema = shop.bundle.schema
    parts = [
        (SideLayout.of(user_features(schema)), EncodedColumns(schema.digest, user, age)),
        (SideLayout.of(context_features(schema)), EncodedColumns(schema.digest, device, waves)),
    ]
    return joined(parts, schema.layout(Side.QUERY))


def query_features(shop: OpenedShop, columns: EncodedColumns, history: Any) -> QueryFeatures:
    """The queries as the models take them; `history` has the fields of `History`."""
    now = np.full(len(columns), shop.now, dtype=np.int64)
    return QueryFeatures(shop.bundle.version, now, columns, History(*history))
