"""Keys that cannot be read: of another type, damaged, cut off. Each harms its own user only, is told and counted."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeVar

import redis
import redis.asyncio

from contracts.errors import StoreError
from serving.watching.metrics import BROKEN_KEYS, Labels, Metric
from serving.watching.rate_limited import RateLimitedLogger

KeyKind = Literal["recent_items", "categories", "seen", "user_features", "popular", "erased"]
_AnswerT = TypeVar("_AnswerT")


class BrokenKeys:
    """Counts the broken keys that a process meets; from any thread."""

    def __init__(self) -> None:
        self._counts: Counter[KeyKind] = Counter()
        self._lock = threading.Lock()
        self._warn = RateLimitedLogger(logging.getLogger(__name__))

    def found(self, kind: KeyKind, error: BaseException) -> None:
        """Tells about one."""
        self._warn.warning(f"a broken key of {kind}", error)
        with self._lock:
            self._counts[kind] += 1

    def take(self) -> Mapping[tuple[Metric, Labels], float]:
        """How many were met since the last call, as a snapshot of metrics has it."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        return {(BROKEN_KEYS, (kind,)): float(count) for kind, count in counts.items()}


BROKEN: Final = BrokenKeys()
"""Of this process."""


def is_wrong_type(reply: object) -> bool:
    """Whether a reply says that a key is of another type than the command wants."""
    return isinstance(reply, redis.ResponseError) and "WRONGTYPE" in str(reply)


def readable(kind: KeyKind, reply: Any, read: Callable[[Any], _AnswerT]) -> _AnswerT | None:
    """What a reply means; None where its key is broken, which is noted.

    Args:
        kind: of the key.
        reply: value or error, as a pipeline that raises none returns it.
        read: takes the value; raises StoreError or ValueError where it is none.

    Raises:
        RedisError: the reply is an error that is not the key's.
    """
    if isinstance(reply, redis.RedisError) and not is_wrong_type(reply):
        raise reply
    try:
        if not isinstance(reply, redis.RedisError):
            return read(reply)
    except (StoreError, ValueError) as error:
        BROKEN.found(kind, error)
    else:
        BROKEN.found(kind, reply)
    return None


async def read_strings(client: redis.asyncio.Redis, keys: list[str]) -> list[bytes | None]:
    """Values of strings, None where there is no key; a key of another type reads as b"", which no value of ours is.

    MGET answers nil in both cases, so the keys that are there are counted beside it.

    Raises:
        RedisError: the store does not answer.
    """
    if not keys:
        return []
    async with client.pipeline(transaction=False) as pipe:
        pipe.mget(keys)
        pipe.exists(*keys)
        values, num_there = await pipe.execute()
        if num_there > len(values) - values.count(None):
            absent = [place for place, value in enumerate(values) if value is None]
            for place in absent:
                pipe.type(keys[place])
            for place, kind in zip(absent, await pipe.execute(), strict=True):
                values[place] = None if kind in (b"none", b"string") else b""
    return list(values)
