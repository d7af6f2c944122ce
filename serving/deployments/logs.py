"""Log lines of replicas reach their files: Serve, built for throughput, keeps up to 1,000 of them in memory."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable
from typing import Final

SERVE_LOGGER: Final = "ray.serve"
_PAUSE_S: Final = 0.25


def keep_logs_written(write_last: Callable[[], None] | None = None) -> None:
    """Starts a thread that empties the buffers of Serve's logger four times a second, and empties them at the end.

    The end is also SIGTERM, which Ray's workers turn into an ordinary exit.

    Args:
        write_last: writes at the end what is not even in those buffers yet; None = there is nothing.
    """
    atexit.register(flush_logs)
    if write_last is not None:
        atexit.register(write_last)  # what is registered last runs first
    threading.Thread(target=_flush_forever, name="logs", daemon=True).start()


def flush_logs() -> None:
    """Empties the buffers of Serve's logger, which also takes what replicas write to standard output and error."""
    for handler in logging.getLogger(SERVE_LOGGER).handlers:
        handler.flush()


def _flush_forever() -> None:
    pause = threading.Event()
    while not pause.wait(_PAUSE_S):
        flush_logs()
