"""Limits events of a visitor, and new visitors of a caller or an address."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple

from contracts.ids import user_of_subject
from recommender_api.interactions import RefusedEvent
from serving.gateway.record.config import QuotaConfig
from serving.stores.interactions import NewInteraction

TOO_MANY: Final = "too_many"
_HOUR_S: Final = 3_600.0
_MINUTE_S: Final = 60.0
_ROUNDING_S: Final = 1e-6
_CACHED: Final = 4_096


class Sender(NamedTuple):
    """Sender of events: the caller's name, None without access control, and the address; '' = not counted."""

    caller: str | None = None
    address: str = ""


class Pace:
    """Limits the rate of each of many keys (generic cell rate algorithm, ITU-T I.371).

    Args:
        per_s: events a second of one key.
        burst: events at once.
        max_tracked: keys that it remembers, the latest ones.
    """

    def __init__(self, per_s: float, burst: int, max_tracked: int) -> None:
        self._step_s = 1 / per_s
        self._burst_s = burst / per_s
        self._max_tracked = max_tracked
        self._due: OrderedDict[int, float] = OrderedDict()

    def wait_s(self, who: int, now: float) -> float:
        """Seconds until the next event is allowed; 0 = now.

        Args:
            who: hash of the key.
            now: monotonic seconds.
        """
        wait_s = self._due.get(who, now) - now + self._step_s - self._burst_s
        return wait_s if wait_s > _ROUNDING_S else 0.0

    def note(self, who: int, now: float) -> None:
        """Counts an event now."""
        self._due[who] = max(self._due.get(who, now), now) + self._step_s
        self._due.move_to_end(who)
        while len(self._due) > self._max_tracked or next(iter(self._due.values())) <= now:
            self._due.popitem(last=False)


class _Known:
    """Remembers keys in two halves: when the newer one is full, the older one is forgotten."""

    def __init__(self, max_tracked: int) -> None:
        self._half = max_tracked // 2
        self._new: set[int] = set()
        self._old: set[int] = set()

    def __contains__(self, who: int) -> bool:
        return who in self._new or who in self._old

    def add(self, who: int) -> None:
        """Remembers one."""
        self._new.add(who)
        if len(self._new) >= self._half:
            self._old, self._new = self._new, set()


class EventQuotas:
    """Refuses events above the quotas.

    Args:
        config: the limits.
        clock: monotonic seconds.
    """

    def __init__(self, config: QuotaConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._events = Pace(config.events_per_min / _MINUTE_S, config.events_at_once, config.max_tracked)
        self._known = _Known(config.max_tracked)
        self._visitors: dict[int, Pace] = {}

    def __call__(
        self, checked: Sequence[NewInteraction | RefusedEvent], sender: Sender
    ) -> tuple[list[NewInteraction | RefusedEvent], float]:
        """The events, those above a quota replaced by refusals, and the seconds until all would be accepted."""
        now, longest_s = self._clock(), 0.0
        bounds = self._bounds(sender)
        answer: list[NewInteraction | RefusedEvent] = []
        for index, event in enumerate(checked):
            if isinstance(event, NewInteraction):
                subject = event.interaction.subject
                reason, wait_s = self._refusal(subject, hash(subject), bounds, now)
                if reason:
                    longest_s = max(longest_s, wait_s)
                    event = RefusedEvent(index, TOO_MANY, reason)
            answer.append(event)
        return answer, longest_s

    def _refusal(self, subject: str, who: int, bounds: Sequence[tuple[str, int]], now: float) -> tuple[str, float]:
        """Why an event is refused, and for how many seconds; '' = accepted."""
        if bounds and who not in self._known:
            for name, per_h in bounds:
                wait_s = self._pace(per_h).wait_s(hash(name), now)
                if wait_s:
                    return (
                        f"{name} brought more than {per_h} new visitors within an hour; see interactions.quotas",
                        wait_s,
                    )
            for name, per_h in bounds:  # a visitor that one limit refuses does not count for the other
                self._pace(per_h).note(hash(name), now)
            self._known.add(who)
        wait_s = self._events.wait_s(who, now)
        if not wait_s:
            self._events.note(who, now)
            return "", 0.0
        kind = "session" if user_of_subject(subject) is None else "user"
        return (
            f"this {kind} has sent {self._config.events_at_once} events at once or more than "
            f"{self._config.events_per_min:g} a minute; send it again after {math.ceil(wait_s)} s",
            wait_s,
        )

    def _bounds(self, sender: Sender) -> list[tuple[str, int]]:
        """Names and hourly limits that count new visitors of a sender."""
        config = self._config
        if sender.caller is not None and (own := config.callers.get(sender.caller)) is not None:
            return [(f"caller {sender.caller!r}", own)]
        bounds = []
        if sender.caller is not None and config.visitors_per_caller_h is not None:
            bounds.append((f"caller {sender.caller!r}", config.visitors_per_caller_h))
        if sender.address and config.visitors_per_address_h is not None:
            bounds.append((f"address {_network(sender.address)}", config.visitors_per_address_h))
        return bounds

    def _pace(self, per_h: int) -> Pace:
        pace = self._visitors.get(per_h)  # one for each limit in the config
        if pace is None:
            pace = self._visitors[per_h] = Pace(per_h / _HOUR_S, per_h, self._config.max_tracked)
        return pace


def countable(address: str, is_proxy: Callable[[str], bool]) -> str:
    """The address of a single client; '' for a proxy, which many clients may use."""
    return "" if is_proxy(address) else address


@lru_cache(_CACHED)
def _network(address: str) -> str:
    """An IPv4 address, or the IPv6 network that one client usually has."""
    return address if ip_address(address).version == 4 else str(ip_network(f"{address}/64", strict=False))
