"""Exports measurements through Ray, whose agents show them to Prometheus with the prefix `ray_`."""

from __future__ import annotations

from collections.abc import Sequence

from ray.util.metrics import Counter, Gauge, Histogram

from serving.watching.metrics import METRICS, Metric, Snapshot


class RayMetrics:
    """Hands measurements to Ray, in microseconds a value: called in a thread, not on the event loop.

    Args:
        metrics: those that it takes.
    """

    def __init__(self, metrics: Sequence[Metric] = METRICS) -> None:
        self._histograms: dict[Metric, Histogram] = {}
        self._counters: dict[Metric, Counter] = {}
        self._gauges: dict[Metric, Gauge] = {}
        for metric in metrics:
            match metric.kind:
                case "histogram":
                    self._histograms[metric] = Histogram(
                        metric.name, metric.says, boundaries=list(metric.buckets), tag_keys=metric.labels
                    )
                case "counter":
                    self._counters[metric] = Counter(metric.name, metric.says, tag_keys=metric.labels)
                case "gauge":
                    self._gauges[metric] = Gauge(metric.name, metric.says, tag_keys=metric.labels)

    def __call__(self, snapshot: Snapshot) -> None:
        for (metric, labels), values in snapshot.observed.items():
            observe, tags = self._histograms[metric].observe, dict(zip(metric.labels, labels, strict=True))
            for value in values:
                observe(value, tags)
        for (metric, labels), value in snapshot.added.items():
            self._counters[metric].inc(value, dict(zip(metric.labels, labels, strict=True)))
        for (metric, labels), value in snapshot.current.items():
            self._gauges[metric].set(value, dict(zip(metric.labels, labels, strict=True)))
