"""Ten declared columns of the simulated tables: what a shop's own columns cost is measured with them."""

from __future__ import annotations

import json
from typing import Any, Final

_ITEM: Final = {"side": "item", "kind": "categorical"}
_QUERY: Final = {"side": "query", "kind": "categorical"}
_SIGNED: Final = {"kind": "numeric", "encode": {"log": "signed", "missing_flag": True}}
COLUMNS: Final[tuple[dict[str, Any], ...]] = (
    _ITEM | {"name": "brand", "filter": True, "answer": True},
    _ITEM | {"name": "brand_hashed", "column": "brand", "encode": {"buckets": 16}},
    _ITEM | {"name": "category_hashed", "column": "category_l2", "encode": {"buckets": 64}},
    _ITEM | {"name": "made_for", "column": "gender"},
    _ITEM | {"name": "price_binned", "column": "price", "kind": "numeric", "encode": {"bins": 20}},
    _ITEM | {"name": "price_signed", "column": "price"} | _SIGNED,
    _QUERY | {"name": "gender_hashed", "column": "gender", "encode": {"buckets": 8}},
    _QUERY | {"name": "age_bins", "column": "age", "kind": "numeric", "encode": {"bins": 10}},
    _QUERY | {"name": "age_signed", "column": "age"} | _SIGNED,
    _QUERY | {"name": "device_hashed", "column": "device_type", "source": "context", "encode": {"buckets": 8}},
)
"""Entries of `features.columns`."""
SETTINGS: Final = ("simulator.brands=20", f"features.columns={json.dumps(COLUMNS)}")
"""Overrides of the main job."""
