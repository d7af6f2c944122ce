"""How long a local stage usually takes, so that it is not started when it would be late anyway."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW: Final = 64
"""Calls that count."""
MIN_CALLS: Final = 20
"""With fewer nothing is known yet."""
TRY_EVERY: Final = 10
"""Of the calls that would be late one in so many is tried, so that a stage that was slow for a while comes back."""
_SHARE: Final = 0.95


class UsualTime:
    """The running 95th percentile of a stage's times."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=WINDOW)
        self._refused = 0
        self.p95_s = 0.0

    def add(self, seconds: float) -> None:
        """Notes how long a call took; one that is fast again after calls were refused makes the slow ones forgotten."""
        if self._refused and seconds < self.p95_s:
            self._last.clear()
            self._refused = 0
        self._last.append(seconds)
        known = len(self._last) >= MIN_CALLS
        self.p95_s = sorted(self._last)[int(_SHARE * len(self._last))] if known else 0.0

    def fits(self, seconds: float) -> bool:
        """Whether a call should be started that may take some seconds."""
        if self.p95_s <= seconds:
            return True
        self._refused += 1
        return self._refused % TRY_EVERY == 0
