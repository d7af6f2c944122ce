"""Metrics and request log of a gateway: collected on the event loop, written by a thread within a second."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from contracts.bloom import item_hashes
from contracts.messages import PipelineResult, RequestBatch
from contracts.seen import SeenFilters
from serving.gateway.recommend.service import Answer
from serving.gateway.record.interactions import EventCounts
from serving.gateway.watch.config import RequestLogConfig
from serving.gateway.watch.request_log import RequestLog
from serving.stages.seen_filter import SeenEarly, SeenReader
from serving.watching.metrics import SEEN_ERROR_RATE, MetricSink, Recorder, Snapshot
from serving.watching.rate_limited import RateLimitedLogger

_LOG_PAUSE_S: Final = 0.5
_PAUSES: Final = 2
"""Measurements are written with every second batch of log lines."""
_NUM_PROBES: Final = 1_024
_NUM_KEPT: Final = 60


class Telemetry:
    """Collects measurements and log lines of a gateway.

    Args:
        config: of the request log.
        sink: takes measurements; None = they are dropped.
    """

    def __init__(self, config: RequestLogConfig, sink: MetricSink | None = None) -> None:
        self._recorder = Recorder()
        self._log = RequestLog(config) if config.max_lines_per_s else None
        self._sink = sink
        self._seen = SeenErrorRate()
        self._task: asyncio.Task[None] | None = None
        self._warn = RateLimitedLogger(logging.getLogger(__name__))

    def batch(self, result: PipelineResult, waited_ms: Sequence[float]) -> None:
        """Takes the measurements of a batch."""
        if self._sink is not None:
            self._recorder.batch(result, waited_ms)

    def answered(
        self, request_id: str, method: str, route: str, status: int, started: float, answer: Answer | None = None
    ) -> None:
        """Takes an answered request; `started` is its arrival by `time.perf_counter`."""
        self._keep_running()
        milliseconds = (time.perf_counter() - started) * 1000
        if self._sink is not None:
            self._recorder.request(route, status, milliseconds)
        if self._log is not None:
            self._log.add(request_id, method, route, status, milliseconds, answer)

    def events(self, counts: EventCounts) -> None:
        """Counts the events of a request by outcome."""
        if self._sink is not None:
            self._recorder.events("accepted", counts.accepted)
            self._recorder.events("duplicate", counts.duplicates)
            self._recorder.events("refused", counts.refused)

    def impressions(self, outcome: str, count: int) -> None:
        """Counts shown items by the outcome of their record."""
        if self._sink is not None:
            self._recorder.impressions(outcome, count)

    def watch(self, reader: SeenReader) -> SeenReader:
        """Wraps a reader of seen items to estimate its error rate from some answers."""
        if self._sink is None:
            return reader

        async def read(batch: RequestBatch) -> SeenEarly:
            early = await reader(batch)
            self._seen.newest = early.filters
            return early

        return read

    async def run(self) -> None:
        """Writes log lines twice a second and measurements once a second, and both a last time when cancelled."""
        try:
            while True:
                for _ in range(_PAUSES):
                    await asyncio.sleep(_LOG_PAUSE_S)
                    await asyncio.to_thread(self.write_lines)
                await self._estimate()
                await asyncio.to_thread(self._measured, self._recorder.take())
        finally:
            self.write_lines()
            self._measured(self._recorder.take())

    def write_lines(self) -> None:
        """Writes the waiting log lines; also called when the process ends."""
        if self._log is None:
            return
        try:
            self._log.write(self._log.take())
        except Exception as error:
            self._warn.warning("request log", error)

    async def close(self) -> None:
        """Writes what is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _keep_running(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self.run())

    async def _estimate(self) -> None:
        try:
            await self._seen.estimate()
        except Exception as error:
            self._warn.warning("error rate of the seen filter", error)

    def _measured(self, snapshot: Snapshot) -> None:
        if self._sink is None:
            return
        try:
            rate = self._seen.mean
            self._sink(replace(snapshot, current={} if rate is None else {(SEEN_ERROR_RATE, ()): rate}))
        except Exception as error:
            self._warn.warning("metrics", error)


class SeenErrorRate:
    """Estimates the error rate of the seen filters by asking them about items that do not exist."""

    def __init__(self) -> None:
        self.newest: SeenFilters | None = None
        self._hashes = item_hashes([f"never existed {number}" for number in range(_NUM_PROBES)])
        self._shares: deque[float] = deque(maxlen=_NUM_KEPT)

    @property
    def mean(self) -> float | None:
        """Mean of the estimates of the last minute; None before the first subject with seen items."""
        return float(np.mean(self._shares)) if self._shares else None

    async def estimate(self) -> None:
        """Asks the filters that were read last.

        Raises:
            StoreError: it asks the store again, which does not answer in time.
        """
        filters, self.newest = self.newest, None
        if filters is None or not len(filled := filters.filled):
            return
        owners = filled[np.arange(_NUM_PROBES) % len(filled)]
        answers = await filters.about(self._hashes, np.arange(_NUM_PROBES, dtype=np.int32), owners)
        are_seen = await asyncio.to_thread(answers.seen, self._hashes, owners)
        self._shares.append(float(are_seen.mean()))
