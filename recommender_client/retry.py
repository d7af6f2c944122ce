"""When to retry a call, and how long to wait."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

import httpx

AGAIN: Final = frozenset({429, 503})
Outcome = httpx.Response | httpx.TransportError
"""Result of an attempt."""


@dataclass(frozen=True)
class Retry:
    """Exponential backoff with full jitter; a Retry-After header is a lower bound.

    Attributes:
        attempts: most attempts; 1 = no retry.
        first_s: longest wait before the second attempt; doubles with each further attempt.
        longest_s: upper bound of all waits; a longer Retry-After ends the retries.
        generator: source of the jitter.
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
        """Seconds to wait before the next attempt; None = no further attempt.

        A read timeout is final: the service may still be working on the call.

        Args:
            outcome: of the attempt.
            attempt: its number, from 1.
            again: statuses after which to retry.
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
