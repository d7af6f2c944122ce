"""Observability: readiness, metrics, logs, traces; and fresh popular items."""
