"""Measurements as Ray exports them: every node's agent shows them to Prometheus, with `ray_` before their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from serving.watching.metrics import METRICS, Metric, Snapshot


class RayMetrics:
    """Hands measurements to Ray; takes microseconds a value, so it is called in a thread, not on the event loop.

    Args:
        metrics: those that it may be handed.
    """

    def __init__(self, metrics: Sequence[Metric] = METRICS) -> None:
        self._made: dict[Metric, Any] = {metric: _make(metric) for metric in metrics}

    def __call__(self, snapshot: Snapshot) -> None:
        for (metric, labels), values in snapshot.observed.items():
            observe, tags = self._made[metric].observe, dict(zip(metric.labels, labels, strict=True))
            for value in values:
                observe(value, tags)
        for (metric, labels), value in snapshot.added.items():
            self._made[metric].inc(value, dict(zip(metric.labels, labels, strict=True)))
        for (metric, labels), value in snapshot.current.items():
            self._made[metric].set(value, dict(zip(metric.labels, labels, strict=True)))


def _make(metric: Metric) -> Counter | Gauge | Histogram:
    if metric.kind == "histogram":
        return Histogram(metric.name, metric.says, boundaries=list(metric.buckets), tag_keys=metric.labels)
    return (Counter if metric.kind == "counter" else Gauge)(metric.name, metric.says, tag_keys=metric.labels)
