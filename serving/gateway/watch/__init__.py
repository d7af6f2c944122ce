"""How the gateway does: readiness, metrics, logs, traces, popular items."""
