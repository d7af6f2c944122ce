"""Opening and warming up stages."""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any

import pytest

from contracts.bundle import Bundle
from contracts.errors import ConfigError, StoreError
from serving.config import ServingConfig
from serving.pipeline import Stages
from serving.placing.stage_table import SEQUENCE, STAGES, open_stage, warm_up
from serving.running.config import OnError
from serving.running.load import ComputeThread


def test_stages_without_stores_open_without_a_connection(bundle: Bundle) -> None:
    with ComputeThread() as thread:
        for name in STAGES:
            if name == "query_features":
                with pytest.raises(ConfigError, match="the user lookup reads stores and got no connection"):
                    open_stage(name, bundle, ServingConfig(), thread, None)
            else:
                open_stage(name, bundle, ServingConfig(), thread, None)


async def test_warming_up_runs_every_stage_at_the_smallest_and_the_largest_batch(bundle: Bundle) -> None:
    sizes: dict[str, list[int]] = {}
    with ComputeThread() as thread:
        opened: dict[str, Any] = {
            name: open_stage(name, bundle, ServingConfig(), thread, None) for name in list(STAGES)[1:]
        }

        def noting(name: str, call: Any) -> Any:
            async def noted(*messages: Any, timeout_s: float) -> Any:
                sizes.setdefault(name, []).append(len(messages[0]))
                return await call(*messages, timeout_s=timeout_s)

            return noted

        await warm_up({name: noting(name, call) for name, call in opened.items()}, bundle, ServingConfig())
    assert sizes == {name: [1, 32] for name in list(STAGES)[1:]}


async def test_stores_that_are_down_do_not_keep_a_replica_from_starting(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    async def down(*messages: Any, timeout_s: float) -> Any:
        raise StoreError("no connection")

    with caplog.at_level(logging.WARNING):
        await warm_up({"query_features": down}, bundle, ServingConfig())
    assert "query_features not warmed up: no connection" in caplog.text


def test_what_is_no_stage_is_refused_by_name(bundle: Bundle) -> None:
    with (
        ComputeThread() as thread,
        pytest.raises(ConfigError, match=r"there is no stage .nothing.; legal names: query"),
    ):
        open_stage("nothing", bundle, ServingConfig(), thread, None)


def test_policies_sequence_and_table_have_the_same_stages() -> None:
    assert list(OnError.model_fields) == list(STAGES) == [field.name for field in fields(Stages)]
    assert SEQUENCE == (("query_features",), ("retrieval",), ("ranking", "seen_filter"), ("reranking",))
