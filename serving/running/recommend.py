"""The pipeline as training sees it: a `contracts.recommend.Recommend` in this process."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final, NoReturn

import numpy as np

from contracts.bundle import Bundle
from contracts.cores import ThreadsByLoad
from contracts.messages import Candidates, FilterResult, PipelineResult, QueryFeatures, RequestBatch, SeenMask
from contracts.recommend import LIST_K, Recommend
from serving.pipeline import Fallbacks, RecommenderPipeline, Stages
from serving.placing.config import StageConfig
from serving.placing.stage_table import STAGES
from serving.running.calls import DirectCall, StageCall
from serving.running.config import OnError, PipelineConfig
from serving.stages.config import RetrievalConfig
from serving.stages.seen_filter import SEEN

NO_FALLBACK: Final = OnError.model_validate(dict.fromkeys(OnError.model_fields, "fail"))
"""Policies of a measurement: a failing stage fails it."""


def local_recommend(bundle: Bundle, config: RetrievalConfig | None = None) -> Recommend:
    """The pipeline of a bundle, from query features on: no stores, no budget, no fallbacks.

    It computes with as many threads as other processes leave cores free.

    Args:
        bundle: an opened bundle.
        config: settings of retrieval; None = the defaults.
    """

    async def not_here(*_: object, timeout_s: float = 0.0) -> NoReturn:
        raise AssertionError("a measurement brings its features and seen items; nothing is read from stores")

    settings = StageConfig(retrieval=config or RetrievalConfig())
    stages: dict[str, StageCall] = {
        name: not_here if entry.reads_stores else DirectCall(entry.open(bundle, settings, None))
        for name, entry in STAGES.items()
    }
    policies = PipelineConfig(on_error=NO_FALLBACK, reserve_ms=0)
    threads = _threads_by_load()
    pipeline = RecommenderPipeline(Stages(**stages), not_here, Fallbacks.open(bundle, 1), policies)

    def recommend(queries: QueryFeatures, *, k: int, seen: SeenMask | None) -> PipelineResult:
        threads.follow()
        now = int(queries.now.max(initial=0))
        batch = RequestBatch.anonymous(queries.bundle_version, now, np.full(len(queries), k, dtype=np.int32))
        filter_seen = None if seen is None else DirectCall(partial(_split, seen))
        min_kept = np.minimum(batch.k, LIST_K)
        return asyncio.run(pipeline.rank(queries, batch, filter_seen, pipeline.steps(batch), min_kept))

    return recommend


def _split(seen: SeenMask, candidates: Candidates) -> FilterResult:
    return FilterResult(candidates, ~seen(candidates), SEEN)


def _threads_by_load() -> ThreadsByLoad:
    import torch  # only where a model runs

    return ThreadsByLoad(torch.get_num_threads(), torch.set_num_threads)
