"""How long a local stage usually takes, so that it is not started when it would be late anyway."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW: Final = 64
"""Calls that count."""
MIN_CALLS: Final = 20
"""With fewer nothing is known yet."""
MIN_SLOW: Final = 3
"""A time that was taken by fewer calls is an accident, such as the first call of a process."""
TRY_EVERY: Final = 10
"""Of the calls that would be late the first and then one in so many is tried: a stage that was slow comes back."""
_SHARE: Final = 0.95


class UsualTime:
    """The running percentiles of a stage's times.

    Attributes:
        median_s: half of the calls took less; 0 while nothing is known.
        p95_s: the 95th percentile, or less where fewer than `MIN_SLOW` calls took that long; 0 as above.
    """

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=WINDOW)
        self._refused = 0
        self.median_s = self.p95_s = 0.0

    def add(self, seconds: float) -> None:
        """Notes how long a call took; one that is fast again after calls were refused makes the slow ones forgotten."""
        if self._refused and seconds < self.p95_s:
            self._last.clear()
            self._refused = 0
        self._last.append(seconds)
        count = len(self._last)
        if count < MIN_CALLS:
            self.median_s = self.p95_s = 0.0
        else:
            ascending = sorted(self._last)
            self.median_s, self.p95_s = ascending[count // 2], ascending[min(int(_SHARE * count), count - MIN_SLOW)]

    def fits(self, seconds: float) -> bool:
        """Whether a call should be started that may take some seconds."""
        if self.p95_s <= seconds:
            return True
        self._refused += 1
        return self._refused % TRY_EVERY == 1
