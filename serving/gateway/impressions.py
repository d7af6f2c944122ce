"""The log of what was shown, `impressions/day=…`, written beside the requests by a thread from a bounded buffer."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from contracts import columns as c
from contracts import records as r
from contracts.bundle import Bundle
from contracts.clock import Clock, day_to_name
from contracts.columns import Kind
from contracts.config import StrictConfig
from contracts.files import atomic_file
from contracts.messages import PipelineResult
from serving.gateway.asked import Asked
from serving.seldom import SeldomLogger

_TYPES: Final = {Kind.STRING: pa.string(), Kind.INT: pa.int64(), Kind.FLOAT: pa.float64(), Kind.BOOL: pa.bool_()}
_SCHEMA: Final = pa.schema([(column.name, _TYPES[column.kind]) for column in r.IMPRESSIONS.columns])


class ImpressionConfig(StrictConfig):
    """How what was shown is recorded."""

    enabled: bool = True
    """Whether it is recorded at all."""
    arm: str = Field(default="production", min_length=1)
    """Name of this side of an experiment, in every row."""
    flush_interval_s: float = Field(default=10.0, gt=0)
    """Seconds between files; what is in the buffer when a gateway is killed is lost."""
    max_rows: int = Field(default=200_000, ge=1_000)
    """Rows that may wait for a slow disk; more are lost, and counted."""


class _Shown(NamedTuple):
    """The lists of a batch and when they were shown."""

    asked: Sequence[Asked]
    result: PipelineResult
    now: int


class ImpressionLog:
    """Records the lists of recommendations.

    Args:
        bundle: the bundle that answers.
        clock: tells now.
        folder: of the shop's records.
        config: settings.
        count: told how many rows were `written` or `lost`.
    """

    def __init__(
        self,
        bundle: Bundle,
        clock: Clock,
        folder: Path,
        config: ImpressionConfig,
        count: Callable[[str, int], None] = lambda outcome, rows: None,
    ) -> None:
        self._calendar = bundle.transforms.calendar
        self._item_ids = bundle.strings(f"items/{c.ITEM_ID}")
        self._clock = clock
        self._folder = folder / r.IMPRESSIONS.name
        self._config = config
        self._count = count
        self._waiting: list[_Shown] = []
        self._num_rows = 0
        self._warn = SeldomLogger(logging.getLogger(__name__))

    def add(self, asked: Sequence[Asked], result: PipelineResult) -> None:
        """Takes the lists of a batch, unless the buffer is full; lists of given items were no recommendations."""
        if not self._config.enabled or asked[0].given is not None:
            return
        count = len(result.ranked.rows)
        if self._num_rows + count > self._config.max_rows:
            self._count("lost", count)
            return
        self._num_rows += count
        self._waiting.append(_Shown(tuple(asked), result, self._clock.now()))

    async def run(self) -> None:
        """Writes from time to time, and a last time when it is cancelled."""
        try:
            while True:
                await asyncio.sleep(self._config.flush_interval_s)
                await self.flush()
        finally:
            await asyncio.shield(self.flush())

    async def flush(self) -> None:
        """Writes what waits; what cannot be written is lost, and counted."""
        waiting, self._waiting = self._waiting, []
        count, self._num_rows = self._num_rows, 0
        if count == 0:
            return
        try:
            await asyncio.to_thread(self._write, waiting)
        except OSError as error:
            self._warn.warning("impressions", error)
            self._count("lost", count)
        else:
            self._count("written", count)

    def _write(self, waiting: Sequence[_Shown]) -> None:
        table = pa.concat_tables([self._table(shown) for shown in waiting])
        days = self._calendar.day(table[c.TIMESTAMP].to_numpy())
        for day in np.unique(days).tolist():
            path = self._folder / f"{c.DAY}={day_to_name(day)}" / f"part-{uuid.uuid4().hex}.parquet"
            with atomic_file(path) as temporary:
                pq.write_table(table.filter(pa.array(days == day)), temporary)

    def _table(self, shown: _Shown) -> pa.Table:
        asked, result = shown.asked, shown.result
        ranked = result.ranked
        owners = ranked.owners
        positions = np.arange(len(owners)) - ranked.offsets[:-1][owners]
        explored = np.array([one.explored for one in asked])[owners]
        first = positions == 0

        def of_request(values: Sequence[object], where: np.ndarray | None = None) -> pa.Array:
            mask = np.zeros(len(owners), dtype=bool) if where is None else ~where
            return pa.array([None if hidden else values[owner] for owner, hidden in zip(owners, mask, strict=True)])

        drawn = first & explored
        columns = {
            c.REQUEST_ID: of_request([one.request_id for one in asked]),
            c.USER_ID: of_request([one.request.user_id for one in asked]),
            c.SESSION_ID: of_request([one.request.session_id for one in asked]),
            c.ITEM_ID: pa.array([self._item_ids[row] for row in ranked.rows.tolist()]),
            c.POSITION: positions,
            c.TIMESTAMP: np.full(len(owners), shown.now),
            c.CLICKED: pa.nulls(len(owners)),
            c.DEVICE_TYPE: of_request([one.request.device_type for one in asked]),
            c.EXPLORED: explored,
            c.PROPENSITY: pa.array(result.propensities.astype(np.float64), mask=~explored),
            c.ARM: [self._config.arm] * len(owners),
            c.BUNDLE_VERSION: [ranked.bundle_version] * len(owners),
            r.EPSILON: of_request([one.draw.epsilon if one.draw else None for one in asked], drawn),
            r.TEMPERATURE: of_request([one.draw.temperature if one.draw else None for one in asked], drawn),
            r.NUM_RANKED: of_request(result.scored.lengths.tolist(), drawn),
        }
        return pa.table({name: pa.array(values).cast(_SCHEMA.field(name).type) for name, values in columns.items()})
