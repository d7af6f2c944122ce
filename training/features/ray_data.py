"""Ray Data in preprocessing: how it shuffles, and what the errors of its tasks mean."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import ray
import ray.data
from ray.data.context import ShuffleStrategy

from contracts.errors import DataError

_LOGGERS_OF_FAILED_TASKS: Final = (
    "ray.data.exceptions",
    "ray.data._internal.execution.streaming_executor_state",
)


@contextmanager
def sort_shuffle() -> Iterator[None]:
    """Shuffles by sorting: with few partitions on one machine several times faster than Ray's default.

    An error of a task ends the job with its own message; Ray's copies of it, with the stacks of the tasks, are not
    logged.
    """
    context = ray.data.DataContext.get_current()
    before = context.shuffle_strategy
    context.shuffle_strategy = ShuffleStrategy.SORT_SHUFFLE_PULL_BASED
    levels = {name: logging.getLogger(name).level for name in _LOGGERS_OF_FAILED_TASKS}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.shuffle_strategy = before
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def data_error_of(error: BaseException | None) -> DataError | None:
    """The `DataError` that ended a task; None if something else did."""
    while isinstance(error, ray.exceptions.RayTaskError):  # it is also an instance of its cause's class
        error = error.cause
    return error if isinstance(error, DataError) else None
