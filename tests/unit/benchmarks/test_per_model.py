"""Stages made of single models answer as the stages themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.peers.per_model.models import MODELS, PER_MODEL, WHOLE, composed_stages, fill_context, open_model
from benchmarks.peers.per_model.parts import ItemDecoder
from contracts.bundle import Bundle
from contracts.errors import StageError
from contracts.messages import Candidates
from serving.config import ServingConfig
from serving.placing.stage_table import STAGES, open_stage
from serving.running.calls import AsyncCall
from serving.running.config import PipelineConfig
from serving.running.load import ComputeThread
from serving.stages.query_features import QueryFeatureBuilder, QueryFeatureStage
from serving.stages.user_lookup import UserLookup
from tests.fixtures.fake_stores import RECENT, FakeRecentItems, FakeUserFeatures
from tests.fixtures.served_bundle import NOW, request_batch

INF = float("inf")


@pytest.fixture
def thread() -> Any:
    with ComputeThread() as pool:
        yield pool


@pytest.fixture
def lookup() -> UserLookup:
    users = FakeUserFeatures({"u1": (30.0, "F", "books", "shoes"), "u2": (None, None, "toys", None)})
    return UserLookup(users, FakeRecentItems(RECENT), PipelineConfig())


@pytest.fixture
def composed(bundle: Bundle, thread: Any, lookup: UserLookup) -> dict[str, Any]:
    async def look_up(*messages: Any, timeout_s: float) -> Any:
        return await lookup(*messages)

    calls: dict[Any, Any] = {
        name: open_model(name, bundle, ServingConfig(), thread, None)
        for name in (*MODELS, *WHOLE)
        if name != "user_lookup"
    }
    return dict(composed_stages(calls | {"user_lookup": look_up}))


@pytest.mark.parametrize("size", [1, 32])
async def test_a_request_goes_the_same_way(
    bundle: Bundle, thread: Any, lookup: UserLookup, composed: dict[str, Any], size: int
) -> None:
    batch = request_batch(size, recent_items=(("i3", "i7"),) * size)
    whole = {name: open_stage(name, bundle, ServingConfig(), thread, None) for name in list(STAGES)[1:]}
    looked_up = await QueryFeatureStage(lookup, QueryFeatureBuilder.open(bundle))(batch)
    same = await composed["query_features"](batch, timeout_s=INF)
    np.testing.assert_array_equal(same.features.columns.codes, looked_up.features.columns.codes)
    np.testing.assert_array_equal(same.features.columns.numbers, looked_up.features.columns.numbers)
    np.testing.assert_array_equal(same.features.history.rows, looked_up.features.history.rows)
    assert same.degraded == looked_up.degraded

    queries = looked_up.features
    candidates = await whole["retrieval"](queries, timeout_s=INF)
    assert_equal(await composed["retrieval"](queries, timeout_s=INF), candidates)
    some = candidates.where(np.arange(len(candidates.rows)) % 3 > 0)
    ranked = await whole["ranking"](queries, some, timeout_s=INF)
    assert_equal(await composed["ranking"](queries, some, timeout_s=INF), ranked)
    top = await whole["reranking"](ranked, batch.k, timeout_s=INF)
    assert_equal((await composed["reranking"](ranked, batch.k, timeout_s=INF)).items, top.items)
    assert ItemDecoder(bundle)(top.items) == [f"i{row + 1}" for row in top.items.rows]


def assert_equal(got: Candidates, expected: Candidates) -> None:
    np.testing.assert_array_equal(got.rows, expected.rows)
    np.testing.assert_array_equal(got.lengths, expected.lengths)
    np.testing.assert_allclose(got.scores, expected.scores, atol=1e-5)


async def test_nothing_to_rank_asks_nobody(bundle: Bundle, composed: dict[str, Any], lookup: UserLookup) -> None:
    queries = (await composed["query_features"](request_batch(2), timeout_s=INF)).features
    empty = np.zeros(0, dtype=np.int32)
    nothing = Candidates(bundle.version, empty, empty.astype(np.float32), np.zeros(2, dtype=np.int32))
    assert await composed["ranking"](queries, nothing, timeout_s=INF) is nothing


async def test_a_composed_stage_keeps_its_time(composed: dict[str, Any]) -> None:
    with pytest.raises(TimeoutError):
        await composed["query_features"](request_batch(), timeout_s=0)


async def test_lost_ids_are_noticed(bundle: Bundle, thread: Any) -> None:
    async def forgetful(*messages: Any, timeout_s: float) -> Any:
        return []

    calls: dict[Any, Any] = dict.fromkeys((*MODELS, *WHOLE), forgetful)
    calls["sampling"] = open_model("sampling", bundle, ServingConfig(), thread, None)
    candidates = Candidates(
        bundle.version, np.arange(3, dtype=np.int32), np.ones(3, np.float32), np.array([3], np.int32)
    )
    with pytest.raises(StageError, match="item_decoder gave 0 ids for 2 items"):
        await composed_stages(calls)["reranking"](candidates, np.array([2], np.int32), timeout_s=INF)


def test_a_request_without_a_time_is_of_now() -> None:
    batch = request_batch(2, context_time=np.array([0, NOW - 5]))
    assert fill_context(batch).context_time.tolist() == [NOW, NOW - 5]


def test_every_model_has_a_deployment_and_all_make_the_stages() -> None:
    held = [name for names in PER_MODEL.deployments.values() for name in names]
    assert sorted(held) == sorted((*MODELS, *WHOLE))
    assert [name for name, held in PER_MODEL.deployments.items() if not PER_MODEL.reading.isdisjoint(held)] == [
        "UserLookup"
    ]
    assert set(composed_stages(dict.fromkeys(held, AsyncCall(nothing)))) == set(STAGES)


async def nothing() -> None:
    return None
