"""Metrics of a consumer, reported about once a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from serving.interactions.streams import Backlog
from serving.watching.metrics import Labels, Metric, MetricSink, Snapshot

_FEATURE_MS: Final = (2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1_000, 2_000, 5_000, 20_000)
_PERIOD_S: Final = 1.0

EVENTS: Final = Metric(
    "recommender_consumer_events", "counter", "Accepted interactions that were written for training and acknowledged."
)
DEAD_LETTERS: Final = Metric(
    "recommender_consumer_dead_letters", "counter", "Entries of the stream that could not be used."
)
FAILURES: Final = Metric(
    "recommender_consumer_failures", "counter", "Calls to a store or disk that failed and were tried again."
)
FEATURE_MS: Final = Metric(
    "recommender_feature_ms",
    "histogram",
    "Milliseconds from the acceptance of a batch's oldest interaction to the batch's features in the online store.",
    (),
    _FEATURE_MS,
)
BACKLOG: Final = Metric("recommender_consumer_backlog", "gauge", "Entries of the stream not acknowledged yet.")
LAG_S: Final = Metric("recommender_consumer_lag_s", "gauge", "Age in seconds of the oldest entry not acknowledged.")
STALE_USERS: Final = Metric(
    "recommender_consumer_stale_users", "gauge", "Users whose feature waits until the online store has room."
)
CONSUMER_METRICS: Final = (EVENTS, DEAD_LETTERS, FAILURES, FEATURE_MS, BACKLOG, LAG_S, STALE_USERS)


class ConsumerMeter:
    """Counts in the thread of the consumer.

    Args:
        sink: takes the metrics; None = they are not reported.
        now_ms: Unix milliseconds.
    """

    def __init__(
        self, sink: MetricSink | None = None, now_ms: Callable[[], float] = lambda: 1000 * time.time()
    ) -> None:
        self._sink = sink
        self._now_ms = now_ms
        self._observed: dict[tuple[Metric, Labels], list[float]] = {}
        self._added: dict[tuple[Metric, Labels], float] = {}
        self._current: dict[tuple[Metric, Labels], float] = {}
        self._next_report = 0.0
        self.num_recorded = 0
        """Events recorded since the start."""

    def features(self, accepted_ms: Iterable[int]) -> None:
        """Notes that the features of events, with these times of acceptance, are in the online store now.

        Observes only the longest wait of a batch, because Ray's agent is slow with many values.
        """
        oldest = min(accepted_ms, default=None)
        if self._sink is not None and oldest is not None:
            self._observed.setdefault((FEATURE_MS, ()), []).append(max(0.0, self._now_ms() - oldest))

    def recorded(self, num_events: int) -> None:
        """Counts events that were written for training."""
        self.num_recorded += num_events
        self._add(EVENTS, num_events)

    def dead_letters(self, num_entries: int) -> None:
        """Counts entries that could not be used."""
        self._add(DEAD_LETTERS, num_entries)

    def failure(self) -> None:
        """Counts a failed call to a store or disk."""
        self._add(FAILURES, 1)

    def backlog(self, backlog: Backlog) -> None:
        """Notes the current backlog."""
        self._current = self._current | {(BACKLOG, ()): backlog.entries, (LAG_S, ()): backlog.lag_s}

    def stale_users(self, num_users: int) -> None:
        """Notes the number of users with an outdated feature."""
        self._current = self._current | {(STALE_USERS, ()): num_users}

    def report(self) -> None:
        """Reports the metrics, at most once a second."""
        if self._sink is None or time.monotonic() < self._next_report:
            return
        self._next_report = time.monotonic() + _PERIOD_S
        self._sink(Snapshot(self._observed, self._added, self._current))
        self._observed, self._added = {}, {}

    def _add(self, metric: Metric, value: float) -> None:
        if value:
            self._added[metric, ()] = self._added.get((metric, ()), 0.0) + value
