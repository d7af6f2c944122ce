"""Flushes log lines of replicas to their files: Serve buffers up to 1,000 of them in memory."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable
from typing import Final

SERVE_LOGGER: Final = "ray.serve"
_PAUSE_S: Final = 0.25


def keep_logs_written(write_last: Callable[[], None] | None = None) -> None:
    """Flushes Serve's logger four times a second in a thread, and when the process ends.

    That includes SIGTERM, which Ray's workers turn into an ordinary exit.

    Args:
        write_last: called at the end, before the last flush, to write the remaining lines; None = there are none.
    """
    atexit.register(flush_logs)
    if write_last is not None:
        atexit.register(write_last)  # runs before `flush_logs`: the last registered function runs first
    threading.Thread(target=_flush_forever, name="logs", daemon=True).start()


def flush_logs() -> None:
    """Flushes Serve's logger, which also takes standard output and error of replicas."""
    for handler in logging.getLogger(SERVE_LOGGER).handlers:
        handler.flush()


def _flush_forever() -> None:
    pause = threading.Event()
    while not pause.wait(_PAUSE_S):
        flush_logs()
