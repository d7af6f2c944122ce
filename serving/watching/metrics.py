"""The metrics of serving, and their collection: in plain lists, reported once a second by a thread."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from contracts.messages import PipelineResult

_REQUEST_MS: Final = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 20, 25, 30, 40, 60, 80, 100, 150, 200, 500, 1_000)
_STAGE_MS: Final = (0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5, 8, 10, 15, 20, 30, 50, 100, 200, 500)


@dataclass(frozen=True, eq=False)
class Metric:
    """A Prometheus metric; Ray exports it with the prefix `ray_`.

    Attributes:
        name: unit last; counters end in `_total`.
        kind: counter, gauge or histogram.
        says: its help text.
        labels: names of its labels.
        buckets: upper bounds of a histogram.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    says: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


REQUEST_MS: Final = Metric(
    "recommender_request_ms",
    "histogram",
    "Milliseconds from a request's arrival to its answer.",
    ("route", "status"),
    _REQUEST_MS,
)
WAITED_MS: Final = Metric(
    "recommender_waited_ms", "histogram", "Milliseconds that a request waited for its batch to start.", (), _STAGE_MS
)
STAGE_MS: Final = Metric(
    "recommender_stage_ms", "histogram", "Milliseconds of a stage for a batch.", ("stage",), _STAGE_MS
)
BATCH_SIZE: Final = Metric(
    "recommender_batch_size", "histogram", "Requests of a batch.", (), (1, 2, 4, 8, 12, 16, 24, 32, 64, 128)
)
RETRIEVED: Final = Metric("recommender_candidates_retrieved", "counter", "Candidates before any filter.")
KEPT: Final = Metric("recommender_candidates_kept", "counter", "Candidates that the filters kept.")
REMOVED: Final = Metric("recommender_candidates_removed", "counter", "Candidates that a filter removed.", ("reason",))
DEGRADED: Final = Metric(
    "recommender_degraded", "counter", "Answers with a part that was replaced or left out.", ("part",)
)
SHED: Final = Metric(
    "recommender_shed",
    "counter",
    "Requests refused with 429, because too many waited or a visitor sent too many events.",
)
EVENTS: Final = Metric(
    "recommender_events",
    "counter",
    "Posted events by outcome: accepted, duplicate, refused.",
    ("outcome",),
)
IMPRESSIONS: Final = Metric(
    "recommender_impressions", "counter", "Shown items by outcome of their record: written, lost.", ("outcome",)
)
SEEN_ERROR_RATE: Final = Metric(
    "recommender_seen_filter_error_rate",
    "gauge",
    "Share of made-up items that the seen filters of recent visitors call seen: the error rate of the Bloom filters.",
)
BROKEN_KEYS: Final = Metric(
    "recommender_broken_keys",
    "counter",
    "Keys of the online store that could not be read; `materialize` repairs them.",
    ("kind",),
)
METRICS: Final = (
    REQUEST_MS,
    WAITED_MS,
    STAGE_MS,
    BATCH_SIZE,
    RETRIEVED,
    KEPT,
    REMOVED,
    DEGRADED,
    SHED,
    EVENTS,
    IMPRESSIONS,
    SEEN_ERROR_RATE,
    BROKEN_KEYS,
)
Labels = tuple[str, ...]


@dataclass(frozen=True)
class Snapshot:
    """Measurements since the last snapshot.

    Attributes:
        observed: values of histograms by metric and label values.
        added: increments of counters.
        current: values of gauges.
    """

    observed: Mapping[tuple[Metric, Labels], Sequence[float]]
    added: Mapping[tuple[Metric, Labels], float]
    current: Mapping[tuple[Metric, Labels], float] = field(default_factory=dict)


class MetricSink(Protocol):
    """Takes measurements, for example for Ray."""

    def __call__(self, snapshot: Snapshot) -> None:
        """Takes the measurements since the last call; runs in a thread."""
        ...


class Recorder:
    """Collects measurements on the event loop with a few list operations a batch."""

    def __init__(self) -> None:
        self._observed: defaultdict[tuple[Metric, Labels], list[float]] = defaultdict(list)
        self._added: defaultdict[tuple[Metric, Labels], float] = defaultdict(float)

    def batch(self, result: PipelineResult, waited_ms: Sequence[float]) -> None:
        """Takes the measurements of a batch and the milliseconds that each request waited."""
        observed, added = self._observed, self._added
        observed[BATCH_SIZE, ()].append(len(waited_ms))
        observed[WAITED_MS, ()].extend(waited_ms)
        for stage, milliseconds in result.stage_ms.items():
            observed[STAGE_MS, (stage,)].append(milliseconds)
        num_retrieved = len(result.retrieved.rows)
        added[RETRIEVED, ()] += num_retrieved
        added[KEPT, ()] += num_retrieved - sum(result.removed.values())
        for reason, count in result.removed.items():
            added[REMOVED, (reason,)] += count
        for parts in result.degraded:
            for part in parts:
                added[DEGRADED, (part,)] += 1

    def request(self, route: str, status: int, milliseconds: float) -> None:
        """Counts and times an answered request."""
        self._observed[REQUEST_MS, (route, str(status))].append(milliseconds)
        if status == 429:
            self._added[SHED, ()] += 1

    def events(self, outcome: str, count: int) -> None:
        """Counts posted events by outcome."""
        self._added[EVENTS, (outcome,)] += count

    def impressions(self, outcome: str, count: int) -> None:
        """Counts shown items by the outcome of their record."""
        self._added[IMPRESSIONS, (outcome,)] += count

    def take(self) -> Snapshot:
        """The measurements since the last call."""
        observed, added = self._observed, self._added
        self._observed, self._added = defaultdict(list), defaultdict(float)
        return Snapshot(observed, {key: value for key, value in added.items() if value > 0})
