"""Seen items in RedisBloom: a scalable Bloom filter per subject and shop-local day, asked about candidates.

RedisBloom gives the first part of a growing filter half of its error rate, the next part half of that, and so on
(Almeida et al. 2007), so the rate holds however far the filter grows. The configured rate holds for the whole window,
so each day gets its share of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

import numpy as np
import redis.asyncio
from redis.typing import EncodableT

from contracts.bloom import FIRST_CAPACITY
from contracts.clock import DAY_S
from contracts.ids import BoolArray, IntArray, LongArray, Words
from serving.stores.broken import readable
from serving.stores.config import StoreConfig
from serving.stores.keys import Keys

_GROWTH: Final = 2
FILTER_TYPE: Final = b"MBbloom--"
"""The answer of TYPE for a filter."""
_NAME_BYTES: Final = 8
Command = tuple[EncodableT, ...]
FILE_SEEN: Final = f"""
  local days, filters, day, days_s = KEYS[filter], take(), tonumber(take()), take()
  local window, error, filter_s = tonumber(take()), take(), take()
  spare(days, 'zset')
  for _, filed in ipairs(redis.call('ZRANGE', days, 0, -1)) do
    if not string.match(filed, '^%d+$') then redis.call('ZREM', days, filed) end
  end
  redis.call('ZADD', days, day, day)
  redis.call('EXPIRE', days, days_s)
  local gone = tonumber(redis.call('ZREVRANGE', days, 0, 0)[1]) - window
  for _, left in ipairs(redis.call('ZRANGEBYSCORE', days, '-inf', gone)) do
    redis.call('ZREM', days, left)
    redis.call('UNLINK', filters .. left)
  end
  spare(filters .. day, '{FILTER_TYPE.decode()}')
  for _ = 1, tonumber(take()) do
    local item = take()
    if day > gone then
      redis.call('BF.INSERT', filters .. day, 'ERROR', error, 'CAPACITY', {FIRST_CAPACITY}, 'EXPANSION', {_GROWTH},
        'ITEMS', item)
    end
  end
  for _, left in ipairs(redis.call('ZRANGE', days, 0, -1)) do redis.call('EXPIRE', filters .. left, filter_s) end
"""
"""Lua: adds items of a subject and day, with the arguments of `FilterCommands.filed`. Removes days that left the
window and prolongs the others.

The script around it sets `KEYS[filter]` to the subject's `Keys.seen_days`, `take` reads the next argument, and `spare`
removes a key of another type.
"""


def item_names(hashes: Words) -> list[bytes]:
    """Names of items in the filters: the first half of their hashes [n, 2], so that long raw ids stay short."""
    packed = hashes[:, 0].astype("<u8").tobytes()
    return [packed[start : start + _NAME_BYTES] for start in range(0, len(packed), _NAME_BYTES)]


class FilterCommands:
    """Builds commands that change filters; callers send them in one atomic step.

    Args:
        config: the store's settings.
    """

    def __init__(self, config: StoreConfig) -> None:
        self._keys = Keys(config.shop)
        self._window_days = config.seen_window_days
        self._error_rate = config.seen_error_rate / config.seen_window_days
        self._lifetime_s = (config.seen_window_days + 1) * DAY_S

    def filed(self, subject: str, day: int, hashes: Sequence[Words], lifetime_s: int) -> list[EncodableT]:
        """Arguments of `FILE_SEEN` that add items, n hashes of [2], to a day."""
        own = (self._keys.seen_on(subject, ""), day, lifetime_s)
        every = (self._window_days, self._error_rate, min(self._lifetime_s, lifetime_s))
        return [*own, *every, len(hashes), *item_names(np.stack(hashes))]

    def replaced(self, subject: str, days: Mapping[int, Words], lifetime_s: int) -> list[Command]:
        """Commands that create filters of new days of a subject, from the hashes [n, 2] of each day's items."""
        filter_s = min(self._lifetime_s, lifetime_s)
        commands = [command for day, hashes in days.items() for command in self._add(subject, day, hashes, filter_s)]
        index = self._keys.seen_days(subject)
        pairs = [value for day in days for value in (day, day)]
        return [*commands, ("ZADD", index, *pairs), ("EXPIRE", index, lifetime_s)]

    def _add(self, subject: str, day: int, hashes: Words, filter_s: int) -> list[Command]:
        key = self._keys.seen_on(subject, day)
        shape = ("ERROR", self._error_rate, "CAPACITY", FIRST_CAPACITY, "EXPANSION", _GROWTH)
        return [("BF.INSERT", key, *shape, "ITEMS", *item_names(hashes)), ("EXPIRE", key, filter_s)]


@dataclass(frozen=True)
class Verdicts:
    """Answers about some candidates.

    Attributes:
        are_seen: [T].
        unreadable: those of the B subjects whose filters cannot be read.
    """

    are_seen: BoolArray
    unreadable: frozenset[int] = frozenset()

    def seen(self, hashes: Words, owners: LongArray) -> BoolArray:
        """[T]: whether the same T candidates were seen."""
        return self.are_seen


@dataclass(frozen=True)
class ModuleFilters:
    """Filters of B subjects; they stay in the store.

    Attributes:
        keys: of each subject's filters in the window; empty = it has seen nothing.
        pipeline: opens a pipeline of the store.
        unreadable: those of the B subjects whose days cannot be read.
    """

    keys: Sequence[Sequence[str]]
    pipeline: Callable[[], AbstractAsyncContextManager[redis.asyncio.client.Pipeline]]
    unreadable: frozenset[int] = frozenset()

    @property
    def filled(self) -> LongArray:
        """Those of the B subjects that have seen something."""
        return np.flatnonzero([len(keys) > 0 for keys in self.keys])

    async def about(self, hashes: Words, rows: IntArray, owners: LongArray) -> Verdicts:
        """Asks about items in one round trip for all subjects.

        Args:
            hashes: of every item, [I, 2].
            rows: ItemRows [T].
            owners: the subject of each, [T].

        Raises:
            StoreError: the store does not answer in time.
        """
        order = np.argsort(owners, kind="stable")
        ends = np.searchsorted(owners[order], np.arange(len(self.keys)), side="right").tolist()
        are_seen = np.zeros(len(rows), dtype=np.bool_)
        asked, broken = [], set(self.unreadable)
        async with self.pipeline() as pipe:
            for subject in self.filled.tolist():
                places = order[ends[subject - 1] if subject else 0 : ends[subject]]
                if len(places):
                    names = item_names(hashes[rows[places]])
                    for key in self.keys[subject]:
                        pipe.execute_command("BF.MEXISTS", key, *names)
                        asked.append((subject, places))
            for (subject, places), reply in zip(asked, await pipe.execute(raise_on_error=False), strict=True):
                found = readable("seen", reply, lambda answers: np.array(answers, dtype=np.bool_))
                if found is None:
                    broken.add(subject)
                else:
                    are_seen[places] |= found
        return Verdicts(are_seen, frozenset(broken))


def filed_days(members: Sequence[bytes]) -> list[int]:
    """The shop-local days in a subject's `Keys.seen_days`.

    Raises:
        ValueError: a member is no day.
    """
    return [int(day) for day in members]
