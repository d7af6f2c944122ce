"""Records shown lists in `impressions/day=…`: a thread writes them from a bounded buffer."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts import columns as c
from contracts import records as r
from contracts.bundle import Bundle
from contracts.clock import Clock
from contracts.files import atomic_file
from contracts.ids import FloatArray, IntArray
from contracts.interactions import context_text
from contracts.messages import Candidates, PipelineResult
from serving.gateway.recommend.asked import Asked
from serving.gateway.record.config import ImpressionConfig
from serving.interactions.day_files import arrow_schema, by_day
from serving.watching.rate_limited import RateLimitedLogger

_ONCE: Final = (r.EPSILON, r.TEMPERATURE, r.NUM_RANKED)
_SCHEMA: Final = arrow_schema(r.IMPRESSIONS)


class _Shown(NamedTuple):
    """The shown lists of a batch with their time."""

    asked: Sequence[Asked]
    ranked: Candidates
    propensities: FloatArray
    num_ranked: IntArray
    now: int


class ImpressionLog:
    """Records the lists of recommendations.

    Args:
        bundle: the bundle that answers.
        clock: tells now.
        folder: of the shop's records.
        config: settings.
        count: counts rows that were `written` or `lost`.
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
        self._items: pa.Array | None = None
        self._warn = RateLimitedLogger(logging.getLogger(__name__))

    def add(self, asked: Sequence[Asked], result: PipelineResult) -> None:
        """Takes the recommendations of a batch, unless the buffer is full; ignores ranked provided candidates."""
        if not self._config.enabled or asked[0].provided is not None:
            return
        count = len(result.ranked.rows)
        if self._num_rows + count > self._config.max_rows:
            self._count("lost", count)
            return
        self._num_rows += count
        self._waiting.append(
            _Shown(tuple(asked), result.ranked, result.propensities, result.scored.lengths, self._clock.now())
        )

    async def run(self) -> None:
        """Writes periodically, and a last time when cancelled."""
        try:
            while True:
                await asyncio.sleep(self._config.flush_interval_s)
                await self.flush()
        finally:
            await asyncio.shield(self.flush())

    async def flush(self) -> None:
        """Writes the buffer; rows that cannot be written are lost and counted."""
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
        table = self._table(waiting)
        days = self._calendar.day(table[c.TIMESTAMP].to_numpy())
        for day_folder, rows in by_day(table, days):
            with atomic_file(self._folder / day_folder / f"part-{uuid.uuid4().hex}.parquet") as temporary:
                pq.write_table(rows, temporary)

    def _table(self, waiting: Sequence[_Shown]) -> pa.Table:
        """A row per item; Arrow repeats values of a request without holding the interpreter's lock for long."""
        lengths = np.concatenate([shown.ranked.lengths for shown in waiting])
        owners = np.repeat(np.arange(len(lengths)), lengths)
        positions = np.arange(len(owners)) - (np.cumsum(lengths) - lengths)[owners]
        requests = self._requests(waiting).take(pa.array(owners))
        explored = requests[c.EXPLORED].to_numpy()
        propensities = np.concatenate([shown.propensities for shown in waiting]).astype(np.float64)
        if self._items is None:
            self._items = pa.array(list(self._item_ids))
        items = self._items.take(pa.array(np.concatenate([shown.ranked.rows for shown in waiting])))
        columns = {name: requests[name] for name in requests.column_names} | {
            c.ITEM_ID: items,
            c.POSITION: pa.array(positions),
            c.CLICKED: pa.nulls(len(owners), pa.bool_()),
            c.PROPENSITY: pa.array(propensities, mask=~explored),
            c.ARM: pa.repeat(self._config.arm, len(owners)),
        }
        first = pa.array(positions == 0)
        for name in _ONCE:
            columns[name] = pc.if_else(first, columns[name], None)
        return pa.table({name: columns[name] for name in _SCHEMA.names}).cast(_SCHEMA)

    @staticmethod
    def _requests(waiting: Sequence[_Shown]) -> pa.Table:
        """A row per request."""
        asked = [one for shown in waiting for one in shown.asked]
        options = [one.reranking if one.explored else None for one in asked]
        sizes = [len(shown.asked) for shown in waiting]
        num_ranked = np.concatenate([shown.num_ranked for shown in waiting]).astype(np.int64)
        versions = [shown.ranked.bundle_version for shown in waiting]
        values = {
            c.REQUEST_ID: [one.request_id for one in asked],
            c.USER_ID: [one.request.user_id for one in asked],
            c.SESSION_ID: [one.request.session_id for one in asked],
            c.DEVICE_TYPE: [one.request.device_type for one in asked],
            c.EXPLORED: [one.explored for one in asked],
            r.CONTEXT: [context_text(one.context) for one in asked],
            c.TIMESTAMP: np.repeat([shown.now for shown in waiting], sizes),
            c.BUNDLE_VERSION: np.repeat(np.array(versions, dtype=object), sizes),
            r.EPSILON: [one and one.epsilon for one in options],
            r.TEMPERATURE: [one and one.temperature for one in options],
            r.NUM_RANKED: pa.array(num_ranked, mask=np.array([one is None for one in options])),
        }
        return pa.table({name: pa.array(some, _SCHEMA.field(name).type) for name, some in values.items()})
