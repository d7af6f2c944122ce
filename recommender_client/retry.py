"""When a call is tried again, and after how long."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

import httpx

AGAIN: Final = frozenset({429, 503})
Outcome = httpx.Response | httpx.TransportError
"""What an attempt brought."""


@dataclass(frozen=True)
class Retry:
    """Exponential waits with full jitter; a Retry-After of the service is a lower bound.

    Attributes:
        attempts: tries in all; 1 = never again.
        first_s: longest wait before the second try; it doubles with each further one.
        longest_s: no wait is longer; a service that asks for more is not asked again.
        generator: draws the waits.
    """

    attempts: int = 3
    first_s: float = 0.1
    longest_s: float = 2.0
    generator: random.Random = field(default_factory=random.Random, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts={self.attempts}, expected at least 1")
        if not 0 <= self.first_s <= self.longest_s:
            raise ValueError(f"first_s={self.first_s} is not within [0, longest_s={self.longest_s}]")

    def wait_after(self, outcome: Outcome, attempt: int, again: frozenset[int] = AGAIN) -> float | None:
        """Seconds until the next attempt; None = the outcome is final.

        A late answer is final: the service may still be at work on it.

        Args:
            outcome: what the attempt brought.
            attempt: its number, from 1.
            again: statuses that are worth another try.
        """
        if isinstance(outcome, httpx.TransportError):
            return None if isinstance(outcome, httpx.ReadTimeout) else self._wait_s(attempt, None)
        if outcome.status_code not in again:
            return None
        return self._wait_s(attempt, outcome.headers.get("retry-after"))

    def _wait_s(self, attempt: int, retry_after: str | None) -> float | None:
        asked = float(retry_after) if retry_after is not None and retry_after.isdecimal() else 0.0
        if attempt >= self.attempts or asked > self.longest_s:
            return None
        drawn = self.generator.uniform(0, min(self.longest_s, self.first_s * 2 ** (attempt - 1)))
        return min(self.longest_s, asked + drawn)
