"""Fourteen models in a deployment each answer as the pipeline called in plain Python.

They have a cluster of their own: beside the other placements there is no room for fourteen more processes.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from serving.config import ServingConfig
from tests.fixtures.running_shop import running_shop
from tests.fixtures.served_bundle import NOW
from tests.parity.answers import assert_same, called_directly, over_http
from tests.parity.visitors import all_visitors

BUDGET_MS, PATIENCE_MS = 60_000, 60_000


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.redis
def test_fourteen_models_one_by_one_answer_as_plain_python(tmp_path: Path) -> None:
    patient = (f"service.budget_ms={BUDGET_MS}", f"stores.read_timeout_ms={PATIENCE_MS}")
    with running_shop(tmp_path / "var", "per_model", *patient) as shop:
        stores = shop.stores.model_copy(update={"read_timeout_ms": PATIENCE_MS})
        config = ServingConfig(simulated_now=NOW, stores=stores)
        plain = asyncio.run(called_directly(all_visitors(), shop.bundle, config, shop.redis.address, batch_size=1))
        for num_threads in (1, 16):
            assert_same(over_http(all_visitors(), shop.url, num_threads), plain)
