"""Reading item features: from mapped arrays, and from Feast's online store, as the reference did at first."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from benchmarks.common import Figure, spread_ms
from contracts import columns as c
from contracts.bundle import Bundle
from contracts.ids import AnyArray, IntArray
from serving.config import ServingConfig
from serving.stages.item_lookup import ItemLookup
from serving.stores import feast_repo
from serving.stores.config import StoreConfig

NUM_CANDIDATES: Final = 300
RANKER_COLUMNS: Final = (
    "items/codes",
    "items/numbers",
    "items/vectors/text",
    "items/vectors/image",
    "items/launched_at",
    "ranker/encoded_id",
)
"""All arrays by ItemRow with features of the ranker."""
FIELDS: Final = (c.PRICE, c.CATEGORY_L1, c.CATEGORY_L2, c.GENDER)
"""Item features in the reference's feature store."""
_VIEW: Final = "item_columns"
_PATIENCE_MS: Final = 30_000


def gather_ms(bundle: Bundle, repeats: int) -> Figure:
    """Milliseconds to gather every column that the ranker reads for 300 candidates."""
    columns = [bundle.array(name) for name in RANKER_COLUMNS]
    return _timed(lambda rows: [column[rows] for column in columns], bundle.num_items, repeats)


def feast_ms(items: FeastItems, num_items: int, repeats: int) -> Figure:
    """Milliseconds to read the reference's item features of 300 candidates from Feast."""
    return _timed(items.read, num_items, repeats)


class FeastItems:
    """Item features in Feast's online store, a project of their own beside the shop's.

    Args:
        config: settings of serving, with the stores' address.
        bundle: of the items.
    """

    def __init__(self, config: ServingConfig, bundle: Bundle) -> None:
        self._ids = np.array([str(item) for item in bundle.strings("items/item_id")], dtype=object)
        self._stores = _stores_of_items(config.stores)
        assert self._stores.address is not None
        self._store = feast_repo.open_store(self._stores, self._stores.address, overwrite=True)

    def fill(self, bundle: Bundle) -> None:
        """Registers the view and writes every item."""
        from feast import Entity, FeatureView, Field, FileSource, ValueType
        from feast.types import Float64, String

        self._stores.feast_dir.mkdir(parents=True, exist_ok=True)
        path = self._stores.feast_dir / "items.parquet"
        values: dict[str, Any] = {name: list(bundle.strings(f"items/{name}")) for name in FIELDS if name != c.PRICE}
        values |= {c.ITEM_ID: self._ids, c.PRICE: ItemLookup.open(bundle).numbers(c.PRICE)}
        rows = pd.DataFrame(values | {"event_timestamp": datetime.now(tz=UTC)})
        rows.to_parquet(path)
        item = Entity(name="item", join_keys=[c.ITEM_ID], value_type=ValueType.STRING)
        schema = [Field(name=name, dtype=Float64 if name == c.PRICE else String) for name in FIELDS]
        source = FileSource(name="item_rows", path=str(path), timestamp_field="event_timestamp")
        view = FeatureView(name=_VIEW, entities=[item], ttl=timedelta(days=3_650), schema=schema, source=source)
        self._store.apply([item, view])
        self._store.write_to_online_store(_VIEW, rows)

    def read(self, rows: IntArray) -> dict[str, list[Any]]:
        """Values of the fields for items, by ItemRow.

        Raises:
            ValueError: an item is not in the store.
        """
        answer = self._store.get_online_features(
            [f"{_VIEW}:{name}" for name in FIELDS], {c.ITEM_ID: self._ids[rows].tolist()}
        ).to_dict()
        if len(rows) and answer[c.PRICE] == [None] * len(rows):
            raise ValueError(f"none of {len(rows)} items is in the store; fill it first")
        return dict(answer)


def comparison(memory: Mapping[str, float], feast: Mapping[str, float]) -> dict[str, Figure]:
    """Gains by memory, in percent: times of a lookup and a request, and throughput.

    Args:
        memory: `lookup` and `latency` in ms, `rps`.
        feast: the same with items in Feast.
    """
    return {
        f"feast_items_vs_memory_{name}": Figure(100 * (memory[name] / feast[name] - 1), "%")
        for name in ("lookup", "latency", "rps")
    }


def _stores_of_items(config: StoreConfig) -> StoreConfig:
    changed = {"shop": f"{config.shop}_items", "feast_dir": Path(f"{config.feast_dir}_items").absolute()}
    return config.model_copy(update=changed | {"read_timeout_ms": _PATIENCE_MS})


def _timed(read: Callable[[IntArray], Any], num_items: int, repeats: int) -> Figure:
    rng = np.random.default_rng(0)
    count = min(NUM_CANDIDATES, num_items)
    draws: list[AnyArray] = [rng.choice(num_items, count, replace=False).astype(np.int32) for _ in range(repeats)]
    times = []
    for rows in draws:
        started = time.perf_counter()
        read(rows)
        times.append(1000 * (time.perf_counter() - started))
    return spread_ms(times)
