"""Rate-limited warnings, so that a dependency that is down does not log one line a request."""

from __future__ import annotations

import logging
import time
from typing import Final

_PAUSE_S: Final = 10.0


class RateLimitedLogger:
    """Logs at most one warning every ten seconds for each subject, with the number of suppressed ones.

    Args:
        log: takes the warnings.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def warning(self, subject: str, error: BaseException, *, traceback: bool = False) -> None:
        """Warns that something was replaced or left out because of an error."""
        now = time.monotonic()
        if now - self._last.get(subject, -_PAUSE_S) < _PAUSE_S:
            self._left_out[subject] = self._left_out.get(subject, 0) + 1
            return
        self._last[subject] = now
        more = self._left_out.pop(subject, 0)
        self._log.warning(
            "%s replaced or left out (%d more times since the last line): %r",
            subject,
            more,
            error,
            exc_info=error if traceback else None,
        )
