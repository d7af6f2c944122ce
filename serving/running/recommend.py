"""The pipeline as training sees it: a `contracts.recommend.Recommend` in this process."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import numpy as np

from contracts.bundle import Bundle
from contracts.cores import ThreadsByLoad
from contracts.messages import Candidates, FilterResult, PipelineResult, QueryFeatures, RequestBatch, SeenMask
from contracts.recommend import LIST_K, Recommend
from serving.pipeline import Fallbacks, RecommenderPipeline, Stages
from serving.running.calls import DirectCall
from serving.running.steps import OnError, PipelineConfig, Steps
from serving.stages.ranking import Ranking
from serving.stages.reranking import Reranking
from serving.stages.retrieval import Retrieval, RetrievalConfig
from serving.stages.seen_filter import SEEN
from serving.watching.seldom import SeldomLogger

NO_FALLBACK: Final = OnError(
    query_features="fail", retrieval="fail", seen_filter="fail", ranking="fail", reranking="fail"
)
"""Policies of a measurement: a failing stage must not be papered over."""


def local_recommend(bundle: Bundle, config: RetrievalConfig | None = None) -> Recommend:
    """The pipeline of a bundle, from query features on: no stores, no budget, no fallbacks.

    It computes with as many threads as other processes leave cores free.

    Args:
        bundle: an opened bundle.
        config: settings of retrieval; None = the defaults.
    """

    async def not_here(*_: object, timeout_s: float = 0.0) -> Any:
        raise AssertionError("features and seen items are given, nothing is read from stores")

    stages = Stages(
        query_features=not_here,
        retrieval=DirectCall(Retrieval.open(bundle, config or RetrievalConfig())),
        seen_filter=not_here,
        ranking=DirectCall(Ranking.open(bundle)),
        reranking=DirectCall(Reranking.open(bundle)),
    )
    policies = PipelineConfig(on_error=NO_FALLBACK, reserve_ms=0)
    warn = SeldomLogger(logging.getLogger(__name__))
    threads = _threads_by_load()
    pipeline = RecommenderPipeline(stages, not_here, Fallbacks.open(bundle, 1), policies)

    def recommend(queries: QueryFeatures, *, k: int, seen: SeenMask | None) -> PipelineResult:
        async def filter_seen(candidates: Candidates, timeout_s: float) -> FilterResult:
            if seen is None:
                return FilterResult.unfiltered(candidates)
            return FilterResult(candidates, ~seen(candidates), SEEN)

        threads.follow()
        steps = Steps(len(queries), float("inf"), policies, warn)
        now = int(queries.now.max(initial=0))
        batch = RequestBatch.anonymous(queries.bundle_version, now, np.full(len(queries), k, dtype=np.int32))
        enough = np.minimum(batch.k, LIST_K)
        return asyncio.run(pipeline.rank(queries, batch, filter_seen, steps, enough=enough))

    return recommend


def _threads_by_load() -> ThreadsByLoad:
    import torch  # only where a model runs

    return ThreadsByLoad(torch.get_num_threads(), torch.set_num_threads)
