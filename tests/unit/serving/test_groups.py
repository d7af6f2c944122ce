"""Opening and warming up stage groups."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from contracts.bundle import Bundle
from contracts.errors import ConfigError, StoreError
from serving.config import ServingConfig
from serving.groups import GROUPS, GroupName, open_group, warm_up
from serving.load import ComputeThread


def test_groups_without_stores_open_without_a_connection(bundle: Bundle) -> None:
    with ComputeThread() as thread:
        for name in GROUPS:
            if name == "query_features":
                with pytest.raises(ConfigError, match="query_features reads stores and got no connection"):
                    open_group(name, bundle, ServingConfig(), thread, None)
            else:
                open_group(name, bundle, ServingConfig(), thread, None)


async def test_warming_up_runs_every_group_at_the_smallest_and_the_largest_batch(bundle: Bundle) -> None:
    sizes: dict[str, list[int]] = {}
    with ComputeThread() as thread:
        opened: dict[GroupName, Any] = {
            name: open_group(name, bundle, ServingConfig(), thread, None) for name in GROUPS[1:]
        }

        def noting(name: GroupName, call: Any) -> Any:
            async def noted(*messages: Any, timeout_s: float) -> Any:
                sizes.setdefault(name, []).append(len(messages[0]))
                return await call(*messages, timeout_s=timeout_s)

            return noted

        await warm_up({name: noting(name, call) for name, call in opened.items()}, bundle, ServingConfig())
    assert sizes == {name: [1, 32] for name in GROUPS[1:]}


async def test_stores_that_are_down_do_not_keep_a_replica_from_starting(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    async def down(*messages: Any, timeout_s: float) -> Any:
        raise StoreError("no connection")

    with caplog.at_level(logging.WARNING):
        await warm_up({"query_features": down}, bundle, ServingConfig())
    assert "query_features not warmed up: no connection" in caplog.text
