"""Usual times of a local stage, so that a call is not started if it would be late."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW: Final = 64
"""Number of last calls that count."""
MIN_CALLS: Final = 20
"""With fewer calls nothing is known yet."""
MIN_SLOW: Final = 3
"""Fewer slow calls than this are treated as outliers, such as the first call of a process."""
TRY_EVERY: Final = 10
"""Every tenth call that would be late is started anyway, the first one included, so that a slow stage can recover."""
_SHARE: Final = 0.95


class UsualTime:
    """Running percentiles of a stage's times.

    Attributes:
        median_s: the median; 0 = not known yet.
        p95_s: the 95th percentile, lowered until at least `MIN_SLOW` calls took that long; 0 = not known yet.
    """

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=WINDOW)
        self._refused = 0
        self.median_s = self.p95_s = 0.0

    def add(self, seconds: float) -> None:
        """Adds the time of a call; a fast call after refused ones resets the percentiles."""
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
        """Whether to start a call that may take this many seconds."""
        if self.p95_s <= seconds:
            return True
        self._refused += 1
        return self._refused % TRY_EVERY == 1
