"""Policies, budget and book-keeping of one pipeline run."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from contracts.errors import ConfigError, StageError, StoreError
from contracts.messages import Candidates, FilterResult
from serving.running.config import OnError, PipelineConfig
from serving.running.steps import Steps
from serving.watching.rate_limited import RateLimitedLogger

LOG = logging.getLogger("test")


def steps_of(size: int = 2, budget_ms: float = float("inf"), **config: Any) -> Steps:
    return Steps(size, budget_ms, PipelineConfig(**config), RateLimitedLogger(LOG))


async def answer(*, timeout_s: float) -> float:
    return timeout_s


async def fails(*messages: Any, timeout_s: float) -> float:
    raise StoreError("no answer")


async def test_a_stage_gets_what_is_left_of_the_budget_without_the_reserve() -> None:
    steps = steps_of(budget_ms=60_000, reserve_ms=20_000)
    left = await steps.run("ranking", answer, fallback=lambda: -1.0)
    assert 39 < left <= 40
    whole = await steps.run("reranking", answer, fallback=lambda: -1.0, last=True)
    assert 59 < whole <= 60


async def test_an_unlimited_budget_stays_unlimited() -> None:
    assert await steps_of().run("ranking", answer, fallback=lambda: -1.0) == float("inf")


async def test_without_budget_a_stage_is_not_started() -> None:
    steps = steps_of(budget_ms=0)
    started: list[float] = []

    async def start(*, timeout_s: float) -> float:
        started.append(timeout_s)
        return 1.0

    assert await steps.run("ranking", start, fallback=lambda: -1.0) == -1.0
    assert started == []
    assert steps.degraded == (("ranking",), ("ranking",))


async def test_only_requests_that_notice_are_degraded() -> None:
    steps = steps_of()
    assert await steps.run("seen_filter", fails, fallback=lambda: 7.0, affects=[True, False]) == 7.0
    assert steps.degraded == (("seen_filter",), ())
    assert steps.replaced_stages == {"seen_filter"}


async def test_what_stands_in_answers_the_same_messages() -> None:
    async def whole(text: str, count: int, *, timeout_s: float) -> str:
        return text * count

    def first(text: str, count: int) -> str:
        return text

    assert await steps_of().run("reranking", whole, "ab", 2, fallback=first) == "abab"
    assert await steps_of(budget_ms=0).run("reranking", whole, "ab", 2, fallback=first) == "ab"


async def test_what_there_is_nothing_to_do_for_is_neither_timed_nor_noted() -> None:
    steps = steps_of(budget_ms=0)
    assert await steps.run("seen_filter", None, 7.0, fallback=float) == 7.0
    assert (steps.degraded, steps.stage_ms) == (((), ()), {})


async def test_a_stage_is_left_out_with_the_one_that_it_needs() -> None:
    steps = steps_of()
    assert await steps.run("ranking", answer, fallback=lambda: -1.0, needs="retrieval") == float("inf")
    await steps.run("retrieval", fails, fallback=lambda: 0.0)
    assert await steps.run("ranking", answer, fallback=lambda: -1.0, needs="retrieval") == -1.0
    assert steps.degraded == (("retrieval", "ranking"),) * 2


async def test_a_second_call_goes_where_the_first_was_answered() -> None:
    steps = steps_of()
    assert steps.once_more("ranking", answer, fallback=lambda: -1.0) is answer
    await steps.run("ranking", fails, fallback=lambda: -1.0)
    assert await steps.once_more("ranking", answer, fallback=lambda: -1.0)(timeout_s=1.0) == -1.0


async def test_policy_fail_names_the_stage() -> None:
    steps = steps_of(on_error=OnError(ranking="fail"))
    with pytest.raises(StageError, match="stage ranking failed or was late; its policy is 'fail'") as caught:
        await steps.run("ranking", fails, fallback=lambda: 0.0)
    assert caught.value.http_status == 503
    assert isinstance(caught.value.__cause__, StoreError)


async def test_failed_stages_are_timed_too() -> None:
    steps = steps_of()
    await steps.run("ranking", fails, fallback=lambda: 0.0)
    assert steps.stage_ms["ranking"] >= 0


def test_what_stages_say_of_their_parts_is_taken_over() -> None:
    steps = steps_of()
    steps.note_degraded((("user_features",), ()))
    steps.replaced("ranking")
    assert steps.degraded == (("user_features", "ranking"), ("ranking",))


def test_removed_candidates_are_counted_by_reason() -> None:
    candidates = Candidates("v", np.arange(3, dtype=np.int32), np.zeros(3, np.float32), np.array([3], dtype=np.int32))
    steps = steps_of(1)
    steps.count_removed(FilterResult(candidates, np.array([True, False, False]), "seen"))
    steps.count_removed(FilterResult(candidates, np.array([True, True, False]), "seen"))
    assert steps.removed == {"seen": 3}


def test_a_policy_that_makes_no_sense_for_a_stage_is_refused() -> None:
    from contracts.config import validate

    with pytest.raises(ConfigError, match=r"retrieval: Input should be 'fail' or 'fallback' \(got 'skip'\)"):
        validate(OnError, {"retrieval": "skip"}, source="x")
