"""Output of the programs: lines for stages, and errors with an exit status."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator, Mapping

from contracts.errors import RecommenderError

EXIT_OK, EXIT_BUG, EXIT_REFUSED, EXIT_STOPPED = 0, 1, 2, 130


def configure_logging() -> None:
    """Logs warnings to stderr."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


def say(stage: str, text: str, seconds: float | None = None) -> None:
    """Prints the line of a stage: its name, seconds and result."""
    clock = "" if seconds is None else f"{seconds:6.1f} s"
    print(f"{stage:<16} {clock:>8}  {text}", flush=True)


def describe_metrics(metrics: Mapping[str, float]) -> str:
    """Names and values in a line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def report_error(error: Exception) -> int:
    """Prints an error: one line when the input is at fault, else a traceback; returns the exit status."""
    for cause in _causes(error):
        if isinstance(cause, RecommenderError):
            print(f"error: {cause.message}", file=sys.stderr)
            return EXIT_REFUSED
    traceback.print_exception(error)
    return EXIT_BUG


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes; Ray wraps the errors of its workers and keeps the original as `cause`."""
    waiting: list[BaseException] = [error]
    known: set[int] = set()
    while waiting:
        current = waiting.pop(0)
        if id(current) in known:
            continue
        known.add(id(current))
        yield current
        wrapped = [
            getattr(current, "cause", None),
            current.__cause__,
            *getattr(current, "worker_failures", {}).values(),
        ]
        waiting += [item for item in wrapped if isinstance(item, BaseException)]
