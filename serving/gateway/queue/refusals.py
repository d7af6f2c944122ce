"""Paces refusals: answers at once while there are few, delays them when there are many.

Some clients retry at once, whatever Retry-After says. A few hundred of them would keep the event loop busy with
refusals, while accepted requests wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from serving.gateway.queue.config import RefusalConfig


class RefusalPace:
    """Lets refused requests wait for their turn.

    Attributes:
        num_held: number of those that wait.

    Args:
        config: the pace.
        clock: seconds, monotonic.
    """

    def __init__(self, config: RefusalConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._next = 0.0
        self.num_held = 0

    async def turn(self) -> None:
        """Returns when it is this refusal's turn."""
        now = self._clock()
        due = max(self._next, now)
        if due == now:
            self._next = now + 1 / self._config.per_s
        elif self.num_held < self._config.max_held:
            self._next = due + 1 / self._config.per_s
            self.num_held += 1
            try:
                await asyncio.sleep(due - now)
            finally:
                self.num_held -= 1
