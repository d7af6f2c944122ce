"""The pipeline: order, conservation, and what happens when a stage fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from contracts import columns as c
from contracts.bundle import Bundle
from contracts.errors import BundleError, StageError
from contracts.messages import PipelineResult, RequestBatch
from serving.pipeline import Fallbacks, RecommenderPipeline, Stages
from serving.placing.config import StageConfig
from serving.placing.stage_table import STAGES, open_stage
from serving.running.calls import AsyncCall
from serving.running.config import OnError, PipelineConfig
from serving.running.load import ComputeThread
from serving.stages.query_features import QueryFeatureBuilder, QueryFeatureStage
from serving.stages.user_lookup import UserLookup
from tests.fixtures.fake_stores import RECENT, SEEN, TODAY, FakeRecentItems, FakeSeenRings, FakeUserFeatures, Fault
from tests.fixtures.served_bundle import request_batch

USERS = {"u1": (30.0, "F", "books", "shoes"), "u2": (None, None, "toys", None)}


class Kitchen:
    """A pipeline whose stages and stores can be made to fail."""

    def __init__(self, bundle: Bundle, config: PipelineConfig | None = None) -> None:
        config = config or PipelineConfig()
        self.users = FakeUserFeatures(USERS)
        self.recent = FakeRecentItems(RECENT)
        self.rings = FakeSeenRings(SEEN, TODAY)
        self.thread = ComputeThread()
        features = QueryFeatureStage(UserLookup(self.users, self.recent, config), QueryFeatureBuilder.open(bundle))
        computing = [name for name, entry in STAGES.items() if not entry.reads_stores]
        opened = {name: open_stage(name, bundle, StageConfig(), self.thread, None) for name in computing}
        self.stages = Stages(query_features=AsyncCall(features), **opened)
        self.fallbacks = Fallbacks.open(bundle, 300)
        self.config = config

    def breaks(self, **stages: Any) -> None:
        self.stages = replace(self.stages, **stages)

    def run(self, batch: RequestBatch) -> PipelineResult:
        pipeline = RecommenderPipeline(self.stages, self.rings, self.fallbacks, self.config)
        return asyncio.run(pipeline.run(batch))


async def broken(*messages: Any, timeout_s: float) -> Any:
    raise RuntimeError("out of order")


async def late(*messages: Any, timeout_s: float) -> Any:
    raise TimeoutError


@pytest.fixture
def kitchen(bundle: Bundle) -> Kitchen:
    return Kitchen(bundle)


def three_visitors(**changed: Any) -> RequestBatch:
    """A known user, a session, and somebody without either."""
    values: dict[str, Any] = {"user_ids": ("u1", None, None), "session_ids": (None, "s1", None)}
    return request_batch(3, **values | changed)


def test_it_runs_all_stages_and_counts(kitchen: Kitchen) -> None:
    result = kitchen.run(three_visitors())
    assert result.ranked.bundle_version == "tiny-1"
    assert result.ranked.lengths.tolist() == [5, 5, 5]
    assert result.retrieved.lengths.tolist() == [39, 39, 39]
    assert result.degraded == ((), (), ())
    assert result.removed == {"seen": 2}
    assert set(result.stage_ms) == set(STAGES)
    assert all(milliseconds >= 0 for milliseconds in result.stage_ms.values())
    assert ((result.ranked.scores > 0) & (result.ranked.scores < 1)).all()


def test_seen_items_are_not_recommended(kitchen: Kitchen) -> None:
    result = kitchen.run(request_batch(1, k=np.array([100], dtype=np.int32)))
    shown = set(result.ranked.rows.tolist())
    assert 0 not in shown
    assert 2 not in shown
    assert 8 in shown  # i9 was seen seven days ago
    assert len(shown) == 37  # 40 items, one not launched, two seen: fewer than k


def test_one_store_call_serves_the_whole_batch(kitchen: Kitchen) -> None:
    kitchen.run(request_batch(4, user_ids=("u1", "u2", "u1", None), session_ids=("s9", None, None, "s1")))
    assert kitchen.users.calls == [["u1", "u2"]]
    assert kitchen.recent.calls == [["u:u1", "u:u2", "s:s1"]]


def test_anonymous_visitors_ask_no_store(kitchen: Kitchen) -> None:
    kitchen.users.fault = kitchen.recent.fault = Fault(fails=True)
    result = kitchen.run(request_batch(1, user_ids=(None,)))
    assert kitchen.users.calls == kitchen.recent.calls == []
    assert result.degraded == ((),)


def test_a_batch_of_32_answers_like_32_batches_of_one(kitchen: Kitchen) -> None:
    users = tuple(None if place % 4 == 3 else f"u{place % 5}" for place in range(32))
    together = kitchen.run(request_batch(32, user_ids=users, context={c.DEVICE_TYPE: ("mobile",) * 32}))
    ends = together.ranked.offsets
    for place, user in enumerate(users):
        alone = kitchen.run(request_batch(1, user_ids=(user,), context={c.DEVICE_TYPE: ("mobile",)})).ranked
        part = slice(ends[place], ends[place + 1])
        assert alone.rows.tolist() == together.ranked.rows[part].tolist()
        np.testing.assert_allclose(alone.scores, together.ranked.scores[part], atol=1e-5)


def test_user_store_down_makes_the_user_anonymous_but_recent_items_count(kitchen: Kitchen) -> None:
    kitchen.users.users = {}
    unknown = kitchen.run(three_visitors())
    assert unknown.degraded == ((), (), ())
    kitchen.users.fault = Fault(fails=True)
    result = kitchen.run(three_visitors())
    assert result.degraded == (("user_features",), (), ())
    assert result.ranked.rows.tolist() == unknown.ranked.rows.tolist()
    np.testing.assert_array_equal(result.ranked.scores, unknown.ranked.scores)


def test_recent_items_down(kitchen: Kitchen) -> None:
    kitchen.recent.fault = Fault(fails=True)
    assert kitchen.run(three_visitors()).degraded == (("recent_items",), ("recent_items",), ())


def test_hanging_stores_leave_time_for_the_models(bundle: Bundle) -> None:
    kitchen = Kitchen(bundle, PipelineConfig(store_share=0.01))
    kitchen.users.fault = kitchen.recent.fault = kitchen.rings.fault = Fault(hangs=True)
    result = kitchen.run(three_visitors(budget_ms=np.full(3, 20_000, dtype=np.float32)))
    assert result.degraded == (
        ("user_features", "recent_items", "seen_filter"),
        ("recent_items", "seen_filter"),
        (),
    )


def test_query_features_down_falls_back_to_the_request_itself(kitchen: Kitchen) -> None:
    expected = kitchen.run(request_batch(1, user_ids=(None,), recent_items=(("i4",),)))
    kitchen.breaks(query_features=broken)
    result = kitchen.run(request_batch(1, user_ids=("u9",), recent_items=(("i4",),)))
    assert result.degraded == (("query_features",),)
    assert result.ranked.rows.tolist() == expected.ranked.rows.tolist()


def test_retrieval_down_gives_popular_items_in_their_order(kitchen: Kitchen) -> None:
    kitchen.breaks(retrieval=broken)
    result = kitchen.run(three_visitors())
    assert result.degraded == (("retrieval", "ranking"),) * 3
    # The list is 39, 38 … 0; 39 is not launched yet.
    assert result.ranked.rows.tolist() == [38, 37, 36, 35, 34] * 3


def test_popular_items_are_filtered_too(kitchen: Kitchen) -> None:
    kitchen.breaks(retrieval=broken)
    result = kitchen.run(request_batch(1, k=np.array([100], dtype=np.int32)))
    assert {0, 2}.isdisjoint(result.ranked.rows.tolist())
    assert result.removed == {"seen": 2}


@pytest.mark.parametrize("how", [broken, late])
def test_filter_down_leaves_everything_in(kitchen: Kitchen, how: Any) -> None:
    kitchen.breaks(seen_filter=how)
    result = kitchen.run(three_visitors(k=np.full(3, 100, dtype=np.int32)))
    assert result.degraded == (("seen_filter",), ("seen_filter",), ())  # the third has nobody to filter for
    assert result.ranked.lengths.tolist() == [39, 39, 39]


def test_seen_rings_down_leaves_everything_in(kitchen: Kitchen) -> None:
    kitchen.rings.fault = Fault(fails=True)
    result = kitchen.run(three_visitors())
    assert result.degraded == (("seen_filter",), ("seen_filter",), ())
    assert result.removed == {"nothing": 0}


@pytest.mark.parametrize("how", [broken, late])
def test_ranker_down_or_late_keeps_the_order_of_retrieval(kitchen: Kitchen, how: Any) -> None:
    kitchen.breaks(ranking=how)
    result = kitchen.run(request_batch(1, user_ids=(None,)))
    assert result.degraded == (("ranking",),)
    assert result.ranked.rows.tolist() == result.retrieved.rows[:5].tolist()


def test_reranking_down_is_done_by_the_gateway(kitchen: Kitchen) -> None:
    expected = kitchen.run(three_visitors())
    kitchen.breaks(reranking=broken)
    result = kitchen.run(three_visitors())
    assert result.degraded == (("reranking",),) * 3
    assert result.ranked.rows.tolist() == expected.ranked.rows.tolist()


def test_nothing_left_of_the_budget_still_answers(kitchen: Kitchen) -> None:
    result = kitchen.run(three_visitors(budget_ms=np.zeros(3, dtype=np.float32)))
    assert result.ranked.lengths.tolist() == [5, 5, 5]
    assert result.degraded[2] == tuple(name for name in STAGES if name != "seen_filter")


@pytest.mark.parametrize("stage", STAGES)
def test_policy_fail_fails_the_request(bundle: Bundle, stage: str) -> None:
    kitchen = Kitchen(bundle, PipelineConfig(on_error=OnError(**{stage: "fail"})))
    kitchen.breaks(**{stage: broken})
    with pytest.raises(StageError, match=f"stage {stage} failed or was late; its policy is 'fail'"):
        kitchen.run(three_visitors())


def test_policy_fail_makes_a_failing_store_fail_the_request(bundle: Bundle) -> None:
    kitchen = Kitchen(bundle, PipelineConfig(on_error=OnError(query_features="fail")))
    kitchen.users.fault = Fault(fails=True)
    with pytest.raises(StageError, match="stage query_features failed"):
        kitchen.run(three_visitors())


def test_a_replica_of_another_bundle_does_not_mix_in(kitchen: Kitchen) -> None:
    async def other_bundle(*messages: Any, timeout_s: float) -> Any:
        raise BundleError("asked for bundle 'tiny-1', this replica serves 'tiny-2'; ask another replica")

    kitchen.breaks(ranking=other_bundle)
    result = kitchen.run(three_visitors())
    assert result.degraded == (("ranking",),) * 3
    assert result.ranked.bundle_version == "tiny-1"
