"""Broken keys: damaged or of another type. Each affects one user only, and is logged and counted."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeVar

import redis
import redis.asyncio

from contracts.errors import StoreError
from serving.watching.metrics import BROKEN_KEYS, Labels, Metric
from serving.watching.rate_limited import RateLimitedLogger

KeyKind = Literal["recent_items", "categories", "seen", "user_features", "popular", "erased"]
_ReplyT = TypeVar("_ReplyT")
_AnswerT = TypeVar("_AnswerT")


class BrokenKeys:
    """Counts the broken keys that a process finds; thread-safe."""

    def __init__(self) -> None:
        self._counts: Counter[KeyKind] = Counter()
        self._lock = threading.Lock()
        self._warn = RateLimitedLogger(logging.getLogger(__name__))

    def found(self, kind: KeyKind, error: BaseException) -> None:
        """Logs and counts one."""
        self._warn.warning(f"a broken key of {kind}", error)
        with self._lock:
            self._counts[kind] += 1

    def take(self) -> Mapping[tuple[Metric, Labels], float]:
        """Numbers since the last call, in the form of `Snapshot.added`."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        return {(BROKEN_KEYS, (kind,)): float(count) for kind, count in counts.items()}


BROKEN: Final = BrokenKeys()
"""The broken keys of this process."""


def is_wrong_type(reply: object) -> bool:
    """Whether a reply says that a key has another type than the command needs."""
    return isinstance(reply, redis.ResponseError) and "WRONGTYPE" in str(reply)


def readable(kind: KeyKind, reply: _ReplyT | redis.RedisError, read: Callable[[_ReplyT], _AnswerT]) -> _AnswerT | None:
    """Parses a reply; counts a broken key and returns None.

    Args:
        kind: of the key.
        reply: value or error, from a pipeline with `raise_on_error=False`.
        read: parses the value; raises StoreError or ValueError if it cannot.

    Raises:
        RedisError: the reply is another error than one about the key.
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
    """Values of string keys: None = missing, b"" = a key of another type (no value is empty).

    MGET answers nil for both, so existing keys are counted as well.

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
