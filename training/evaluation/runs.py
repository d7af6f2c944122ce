"""Runs every method over the test day: the pipeline, the baselines and, for a simulated shop, the oracle."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from contracts.bundle import Bundle
from contracts.clock import day_to_name
from contracts.ids import FloatArray, LongArray
from contracts.messages import Candidates, PipelineResult
from contracts.recommend import Recommend
from training.evaluation.baselines.item_to_item import BASELINES
from training.evaluation.baselines.popularity import Popularity
from training.evaluation.config import EvaluationConfig
from training.evaluation.nats import with_nats
from training.evaluation.ranked import Ranked, ScoreBlocks, block_rows_for, rank_scores
from training.evaluation.test_day import TestDay
from training.features.processed import Processed
from training.simulator.oracle import Oracle, OracleEvents, Variant

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PipelineRun:
    """The pipeline's outcome.

    Attributes:
        ranked: final lists.
        retrieved: lists of retrieval.
        auc_ranked, auc_retrieved: share of the other candidates below the target, in the order of the ranker and of
            retrieval [Q]; NaN if the target was not retrieved or is the only candidate.
        degraded: number of degraded queries.
    """

    ranked: Ranked
    retrieved: Ranked
    auc_ranked: np.ndarray[tuple[int], np.dtype[np.float64]]
    auc_retrieved: np.ndarray[tuple[int], np.dtype[np.float64]]
    degraded: int


class Stopwatch:
    """Measures seconds by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[part] = time.perf_counter() - start
        logger.info("evaluation: %s in %.1f s", part, self.seconds[part])


def run_pipeline(
    recommend: Recommend,
    bundle: Bundle,
    processed: Processed,
    day: TestDay,
    config: EvaluationConfig,
    *,
    filtered: bool,
) -> PipelineRun:
    """Runs the pipeline over all queries; `filtered` runs those of `day.filtered` with the seen filter on."""
    asked = np.flatnonzero(day.filtered) if filtered else np.arange(len(day))
    ranked, retrieved = Ranked.empty(len(day)), Ranked.empty(len(day))
    auc_ranked, auc_retrieved = np.full(len(day), np.nan), np.full(len(day), np.nan)
    degraded = 0
    for start in range(0, len(asked), config.batch_size):
        queries = asked[start : start + config.batch_size]
        result = _recommend(recommend, bundle, processed, day, config, queries, filtered)
        ranked.fill(queries, result.ranked, day.target)
        retrieved.fill(queries, result.retrieved, day.target)
        auc_ranked[queries] = _auc(ranked.rank[queries], result.ranked)
        auc_retrieved[queries] = _auc(retrieved.rank[queries], result.retrieved)
        degraded += sum(bool(parts) for parts in result.degraded)
    return PipelineRun(ranked, retrieved, auc_ranked, auc_retrieved, degraded)


def _recommend(
    recommend: Recommend,
    bundle: Bundle,
    processed: Processed,
    day: TestDay,
    config: EvaluationConfig,
    queries: LongArray,
    filtered: bool,
) -> PipelineResult:
    history = bundle.manifest.history
    features = day.events.query_features(
        day.rows[queries],
        processed.transforms,
        length=history.length,
        history_days=history.days,
        masked=False,
        bundle_version=bundle.version,
    )
    return recommend(
        features,
        k=config.candidates_k,
        seen=(lambda candidates: day.seen.mask(candidates, queries)) if filtered else None,
    )


def _auc(rank: np.ndarray[tuple[int], np.dtype[np.int32]], candidates: Candidates) -> LongArray:
    others = candidates.lengths - 1
    return np.where((rank >= 1) & (others >= 1), 1 - (rank - 1) / np.maximum(others, 1), np.nan)


def run_baselines(
    day: TestDay, config: EvaluationConfig, stopwatch: Stopwatch
) -> dict[str, tuple[Ranked, Ranked] | None]:
    """Plain and filtered outcome of each baseline; None where the catalogue is too large for it."""
    block_rows = block_rows_for(day.num_items)
    makers: dict[str, Callable[[], ScoreBlocks]] = {
        "popularity_all": lambda: Popularity(day.events, day.num_items).blocks(day, block_rows),
        "popularity_3d": lambda: Popularity(day.events, day.num_items, 3).blocks(day, block_rows),
    }
    outcomes: dict[str, tuple[Ranked, Ranked] | None] = {}
    for name, make in makers.items():
        with stopwatch(name):
            outcomes[name] = rank_scores(make(), day, config.seed)
    for name, baseline in BASELINES.items():
        outcomes[name] = None
        if day.num_items <= config.max_item_to_item:
            with stopwatch(name):
                blocks = baseline().blocks(day, block_rows, config.item_to_item_refreshes)
                outcomes[name] = rank_scores(blocks, day, config.seed)
    return outcomes


@dataclass
class OracleRun:
    """Plain and filtered outcome of the full oracle, and plain ones of its ablations.

    `nats` are -log of the probability that the full oracle gives each target [Q].
    """

    full: Ranked
    filtered: Ranked
    nats: FloatArray
    ablations: dict[str, Ranked] = field(default_factory=dict)


def run_oracle(
    oracle: Oracle,
    processed: Processed,
    day: TestDay,
    config: EvaluationConfig,
    stopwatch: Stopwatch,
    *,
    ablations: bool = True,
) -> OracleRun:
    """Scores the queries with the oracle, and a sample of them with each ablation."""
    event_ids = processed.event_ids()[day.rows]
    names = processed.items["item_id"].to_pylist()
    place = {item_id: column for column, item_id in enumerate(oracle.item_ids)}
    columns = np.array([place[name] for name in names])
    train_end = day_to_name(processed.info.train_end_day + 1)
    days = (day_to_name(day.day),)

    def blocks(events: OracleEvents, queries: LongArray, variant: Variant) -> ScoreBlocks:
        scored = oracle.scores(events, variant, train_end)
        return ((queries[places], scores[:, columns]) for places, scores in scored)

    everything, nats = np.arange(len(day)), np.full(len(day), np.nan, dtype=np.float32)
    with stopwatch("oracle_full"):
        found = blocks(oracle.find(event_ids.tolist(), days), everything, Variant.FULL)
        full, filtered = rank_scores(with_nats(found, day, nats), day, config.seed)
    run = OracleRun(full, filtered, nats)
    if not ablations:
        return run
    single = np.flatnonzero(day.single)
    if len(single) > config.max_ablation_events:
        rng = np.random.default_rng(config.seed)
        single = np.sort(rng.choice(single, config.max_ablation_events, replace=False))
    events = oracle.find(event_ids[single].tolist(), days)
    for variant in Variant:
        if variant is not Variant.FULL:
            with stopwatch(f"oracle_{variant}"):
                run.ablations[str(variant)] = rank_scores(blocks(events, single, variant), day, config.seed)[0]
    return run
