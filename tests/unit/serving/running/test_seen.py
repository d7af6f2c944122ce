"""The seen filter as the pipeline runs it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from contracts.bloom import item_hashes
from contracts.ids import BoolArray
from contracts.messages import Candidates, FilterResult, RequestBatch
from contracts.options import Ragged
from serving.running.config import PipelineConfig
from serving.running.seen import EarlySeen
from serving.running.steps import Steps
from serving.stages.seen_filter import SeenEarly
from serving.watching.rate_limited import RateLimitedLogger

NOTHING = np.zeros(0, dtype=np.int64)
CANDIDATES = Candidates("v", np.arange(3, dtype=np.int32), np.zeros(3, np.float32), np.array([2, 1], dtype=np.int32))


def batch(**limits: Any) -> tuple[RequestBatch, Steps]:
    two = RequestBatch.anonymous("v", 5, np.full(2, 10, dtype=np.int32))
    steps = Steps(2, float("inf"), PipelineConfig(), RateLimitedLogger(logging.getLogger("test")))
    return RequestBatch(**vars(two) | limits), steps


@dataclass
class Half:
    """A store that can read what the first of two subjects has seen: everything."""

    filled = NOTHING
    unreadable = frozenset({1})

    async def about(self, hashes: Any, rows: Any, owners: Any) -> Half:
        return self

    def seen(self, hashes: Any, owners: Any) -> BoolArray:
        return np.array(owners == 0)


async def stage(candidates: Candidates, answers: Half, *, timeout_s: float) -> FilterResult:
    return FilterResult(candidates, ~answers.seen(None, candidates.owners), "seen")


async def test_the_store_is_asked_before_there_are_candidates() -> None:
    asked = asyncio.Event()

    async def read(batch: RequestBatch) -> SeenEarly:
        asked.set()
        return SeenEarly(Half(), item_hashes([]))

    requests, steps = batch()
    with EarlySeen(read, store_share=1.0).filter_of(requests, stage, steps) as filter_seen:
        await asyncio.wait_for(asked.wait(), timeout=10)
        assert filter_seen is not None
        verdict = await filter_seen(CANDIDATES, timeout_s=10)
    assert verdict.keep.tolist() == [False, False, True]
    assert steps.degraded == ((), ("seen_filter",))


async def test_whoever_needs_no_answer_any_more_ends_the_question() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def read(batch: RequestBatch) -> SeenEarly:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    requests, steps = batch()
    with EarlySeen(read, store_share=1.0).filter_of(requests, stage, steps):
        await asyncio.wait_for(started.wait(), timeout=10)
    await asyncio.wait_for(cancelled.wait(), timeout=10)


async def test_given_items_have_no_filter_and_ask_no_store() -> None:
    async def read(batch: RequestBatch) -> SeenEarly:
        raise AssertionError

    requests, steps = batch(provided=Ragged.of([[1], [2]]))
    with EarlySeen(read, store_share=1.0).filter_of(requests, stage, steps) as filter_seen:
        assert filter_seen is None
