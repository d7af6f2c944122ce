"""Calls the pipeline directly, without HTTP and Serve: the limit of serving, and the time of one request."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any, Final

import msgspec
import torch
from threadpoolctl import threadpool_limits

from benchmarks.common import Figure, spread_ms
from benchmarks.systems import Ranked
from contracts.bundle import Bundle, open_bundle
from contracts.config import merge
from contracts.messages import PipelineResult
from ray_apps.recommender import find_bundle
from recommender_api.requests import RecommendationRequest
from serving.config import ServingConfig
from serving.gateway.catalogue.catalogue import Catalogue
from serving.gateway.recommend.asked import Asked
from serving.gateway.recommend.service import RecommendationService
from serving.gateway.request_ids import RequestId
from serving.pipeline import Fallbacks, RecommenderPipeline, Stages
from serving.placing.stage_table import STAGES, open_stage
from serving.running.calls import AsyncCall, DirectCall
from serving.running.load import ComputeThread
from serving.stages.query_features import QueryFeatureBuilder, QueryFeatureStage
from serving.stages.seen_filter import seen_reader
from serving.stages.user_lookup import UserLookup
from serving.stores.connection import StoreConnection
from serving.stores.recent import RecentItemStore
from serving.stores.seen import SeenStore
from serving.stores.user_features import UserFeatureStore

BATCH: Final = 32
_PATIENCE_MS: Final = 60_000
"""Timeout of everything, so high that no measurement depends on timeouts."""
_IN_FLIGHT: Final = 2
"""Concurrent batches of a process, as in the gateway: one waits for the stores while another computes."""


@dataclass(frozen=True)
class Direct:
    """An opened pipeline and requests for it."""

    service: RecommendationService
    bundle: Bundle
    asked: Sequence[Asked]

    async def run(self, first: int, size: int) -> PipelineResult:
        """Answers `size` requests from the `first` one on, starting over at the end."""
        wanted = [self.asked[number % len(self.asked)] for number in range(first, first + size)]
        return await self.service.run(wanted, [float("inf")] * size)


@asynccontextmanager
async def opened(
    values: dict[str, Any], asked: Sequence[dict[str, Any]], *, alone: bool = False, remember: bool = False
) -> AsyncIterator[Direct]:
    """Opens the pipeline.

    Args:
        values: settings of serving with the stores' address.
        asked: JSON objects of requests.
        alone: stages compute on the event loop; False gives them a thread, as a replica does.
        remember: each visitor is read from the stores once.
    """
    config = ServingConfig.model_validate(merge(values, {"stores": {"read_timeout_ms": _PATIENCE_MS}}))
    bundle = open_bundle(find_bundle(config), verify=False)
    assert config.stores.address is not None
    stores = StoreConnection.open(config.stores, config.stores.address)
    torch.set_num_threads(1)
    with ComputeThread() as thread, threadpool_limits(1):
        stages = {name: open_stage(name, bundle, config, thread, stores) for name in STAGES}
        if alone:
            computing = [name for name, entry in STAGES.items() if not entry.reads_stores]
            stages |= {name: DirectCall(STAGES[name].open(bundle, config, None)) for name in computing}
        seen: Any = SeenStore(stores)
        if remember:
            seen = Remembered(seen)
            features = Remembered(UserFeatureStore(stores, bundle.schema))
            recents = Remembered(RecentItemStore(stores))
            lookup = UserLookup(features, recents, config.pipeline)
            stages["query_features"] = AsyncCall(QueryFeatureStage(lookup, QueryFeatureBuilder.open(bundle)))
        reader = seen_reader(seen, bundle.transforms.calendar, bundle.array("bloom/hashes"))
        typed, fallbacks = Stages(**stages), Fallbacks.open(bundle, config.retrieval.retrieval_k)
        pipeline = RecommenderPipeline(typed, reader, fallbacks, config.pipeline)
        service = RecommendationService(bundle, pipeline, Catalogue(bundle), config.clock(), config.service)
        requests = [
            service.check(msgspec.convert(body, RecommendationRequest), RequestId("request", "request"))
            for body in asked
        ]
        yield Direct(service, bundle, requests)
    await stores.client.aclose()


class Remembered:
    """A store that remembers its answers.

    Args:
        store: the remembered store.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self._answers: dict[tuple[Any, ...], Any] = {}

    async def read(self, subjects: Sequence[str | None], *others: Any) -> Any:
        """The store's answer."""
        question = (tuple(subjects), *others)
        if question not in self._answers:
            self._answers[question] = await self._store.read(subjects, *others)
        return self._answers[question]


def expected_answers(values: dict[str, Any], asked: Sequence[dict[str, Any]]) -> list[Ranked]:
    """Expected answers of every system: the pipeline's own to one request at a time."""

    async def answer() -> list[Ranked]:
        async with opened(values, asked) as direct:
            return [_ranked(direct.bundle, await direct.run(number, 1)) for number in range(len(asked))]

    return asyncio.run(answer())


def limit_rps(values: dict[str, Any], asked: Sequence[dict[str, Any]], seconds: float, num_processes: int) -> float:
    """Requests a second of the pipeline called directly, stores included, in batches of 32, one process a core."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(num_processes), context.SimpleQueue()
    arguments = (values, asked, seconds, barrier, results)
    processes = [context.Process(target=_limit_process, args=arguments) for _ in range(num_processes)]
    for process in processes:
        process.start()
    rates = []
    for process in processes:
        process.join()
        if process.exitcode != 0:
            raise RuntimeError(f"a process of limit_rps ended with status {process.exitcode}")
        rates.append(results.get())
    return float(sum(rates))


def _limit_process(
    values: dict[str, Any], asked: Sequence[dict[str, Any]], seconds: float, barrier: Barrier, results: Any
) -> None:
    asyncio.run(_measure_limit(values, asked, seconds, barrier, results))


async def _measure_limit(
    values: dict[str, Any], asked: Sequence[dict[str, Any]], seconds: float, barrier: Barrier, results: Any
) -> None:
    async with opened(values, asked) as direct:
        await _keep_busy(direct, seconds / 4)
        barrier.wait(_PATIENCE_MS / 1000)
        started = time.perf_counter()
        count = await _keep_busy(direct, seconds)
        results.put(count / (time.perf_counter() - started))


async def _keep_busy(direct: Direct, seconds: float) -> int:
    deadline = time.perf_counter() + seconds
    starts = iter(range(0, 1 << 62, BATCH))

    async def worker() -> int:
        count = 0
        while time.perf_counter() < deadline:
            result = await direct.run(next(starts), BATCH)
            if any(result.degraded):
                raise RuntimeError(f"an answer of the pipeline is degraded: {result.degraded}")
            count += BATCH
        return count

    return sum(await asyncio.gather(*(worker() for _ in range(_IN_FLIGHT))))


def one_request_ms(
    values: dict[str, Any], asked: Sequence[dict[str, Any]], repeats: int, *, with_stores: bool
) -> Figure:
    """Milliseconds of one request at a time, with every stage on the pipeline's event loop.

    Without stores, their answers are remembered from a first round.
    """

    async def measure() -> Figure:
        async with opened(values, asked, alone=True, remember=not with_stores) as direct:
            times = []
            for number in range(-len(asked), repeats):
                started = time.perf_counter()
                await direct.run(number % len(asked), 1)
                times.append(1000 * (time.perf_counter() - started))
            return spread_ms(times[len(asked) :])

    return asyncio.run(measure())


def _ranked(bundle: Bundle, result: PipelineResult) -> Ranked:
    names = bundle.strings("items/item_id")
    ranked = result.ranked
    return [(str(names[row]), score) for row, score in zip(ranked.rows.tolist(), ranked.scores.tolist(), strict=True)]
