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
from serving.running.calls import DirectCall
from serving.running.steps import OnError, PipelineConfig
from serving.stages.ranking import Ranking
from serving.stages.reranking import Reranking
from serving.stages.retrieval import Retrieval, RetrievalConfig
from serving.stages.seen_filter import SEEN

NO_FALLBACK: Final = OnError(
    query_features="fail", retrieval="fail", seen_filter="fail", ranking="fail", reranking="fail"
)
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

    retrieval = DirectCall(Retrieval.open(bundle, config or RetrievalConfig()))
    ranking, reranking = DirectCall(Ranking.open(bundle)), DirectCall(Reranking.open(bundle))
    stages = Stages(not_here, retrieval, not_here, ranking, reranking)
    policies = PipelineConfig(on_error=NO_FALLBACK, reserve_ms=0)
    threads = _threads_by_load()
    pipeline = RecommenderPipeline(stages, not_here, Fallbacks.open(bundle, 1), policies)

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
