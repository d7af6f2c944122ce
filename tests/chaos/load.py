"""Clients that ask without pause, and what they got."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx

PATIENCE_S = 90.0
PAUSE_S = 0.02
USERS = ("u1", "u2", "u3", "nobody", None)


@dataclass(frozen=True)
class Got:
    """One answer: when it came, how long it took, HTTP status (0 = none), parts left out, items."""

    at: float
    seconds: float
    status: int
    degraded: tuple[str, ...] = ()
    num_items: int = 0


@dataclass
class Load:
    """A number of clients, each with one request at a time, until the `with` block ends."""

    url: str
    num_clients: int = 6
    got: list[Got] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def statuses(self) -> Counter[int]:
        return Counter(one.status for one in self.got)

    def wait(self, enough: Callable[[list[Got]], bool], what: str, patience_s: float = PATIENCE_S) -> list[Got]:
        """Waits until the answers from now on are enough; these answers."""
        start, deadline = len(self.got), time.monotonic() + patience_s
        while not enough(self.got[start:]):
            assert time.monotonic() < deadline, f"waited {patience_s} s for {what}; last: {self.got[-3:]}"
            time.sleep(0.05)
        return self.got[start:]

    def wait_until_whole(self, row: int = 60, patience_s: float = PATIENCE_S) -> float:
        """Waits until so many answers in a row are whole; seconds until the first of them."""
        began = time.monotonic()

        def whole(got: list[Got]) -> bool:
            return len(got) >= row and all(one.status == 200 and not one.degraded for one in got[-row:])

        return self.wait(whole, "whole answers", patience_s)[-row].at - began

    def wait_until_degraded(self, *parts: str, count: int = 20) -> None:
        """Waits for so many answers that lack all these parts."""
        wanted = set(parts)
        self.wait(lambda got: sum(wanted <= set(one.degraded) for one in got) >= count, f"degraded {parts}")

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=self.url, timeout=30, limits=limits) as client:
            await asyncio.gather(*(self._client(client, number) for number in range(self.num_clients)))

    async def _client(self, client: httpx.AsyncClient, number: int) -> None:
        for turn in count(number):
            if self._stop.is_set():
                return
            self.got.append(await self._ask(client, {"user_id": USERS[turn % len(USERS)], "k": 5}))
            await asyncio.sleep(PAUSE_S)

    async def _ask(self, client: httpx.AsyncClient, body: dict[str, Any]) -> Got:
        started = time.monotonic()
        try:
            response = await client.post("/v1/recommendations", json=body)
        except httpx.HTTPError:
            return Got(time.monotonic(), time.monotonic() - started, 0)
        now = time.monotonic()
        if response.status_code != 200:
            return Got(now, now - started, response.status_code)
        answer = response.json()
        return Got(now, now - started, 200, tuple(answer["degraded"]), len(answer["recommendations"]))
