"""Checks that a store still holds what `materialize` wrote; its marker alone does not prove it.

All keys are counted and read. New keys may hide lost ones in the counts, so the keys of some users of the tables are
looked up by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import Final

import redis

from contracts.bloom_edit import RingEditor
from contracts.clock import DAY_S
from contracts.errors import StoreError
from contracts.features import FeatureViewSpec
from contracts.ids import user_subject
from serving.stores import feast_repo, feast_rows, recent, user_features
from serving.stores.client import bulk_client, bulk_errors
from serving.stores.config import StoreConfig
from serving.stores.keys import Keys
from serving.stores.meta import StoreMeta
from serving.stores.popular import broken_counts
from serving.stores.seen import ring_layout
from serving.stores.seen_backend import SeenBackend
from serving.stores.seen_module import FILTER_TYPE

_CHUNK: Final = 1000


@dataclass(frozen=True)
class Sample:
    """Raw ids of some users that must have keys.

    Attributes:
        views: feature views of the store.
        features: users with feature rows.
        recent: users with recent items.
        seen: users with seen items.
    """

    views: Sequence[FeatureViewSpec]
    features: Sequence[str] = ()
    recent: Sequence[str] = ()
    seen: Sequence[str] = ()


def what_is_missing(config: StoreConfig, address: str, meta: StoreMeta, now: int, sample: Sample) -> str | None:
    """Why the store must be filled again, or None.

    Allows for erased users. A marker older than the shortest lifetime of keys is always outdated.

    Args:
        config: the store's settings.
        address: of the store.
        meta: its marker.
        now: the clock's now, Unix seconds.
        sample: of the tables that the store was filled from.

    Raises:
        StoreError: the store does not answer.
    """
    if now - meta.written_at >= DAY_S * min(config.session_days, config.user_days):
        return "keys have begun to expire"
    client = bulk_client(config, address)
    try:
        with bulk_errors(address):
            return _missing(client, config, address, meta, sample)
    finally:
        client.close()


def _missing(client: redis.Redis, config: StoreConfig, address: str, meta: StoreMeta, sample: Sample) -> str | None:
    keys, rings = Keys(config.shop), RingEditor(ring_layout(config))
    if client.type(keys.erased) not in (b"none", b"hash"):
        return "the key of erased users cannot be read"
    stamps = client.hgetall(keys.erased)
    if not all(stamp.isdigit() for stamp in stamps.values()):
        return "times of erased users cannot be read"
    erased = sum(int(stamp) >= meta.written_at for stamp in stamps.values())
    rows = _rows(client, config, sample.views)
    recents = _values(client, keys.recent("*"), recent.decode)
    days = _values(client, keys.day("*"), recent.decode)
    seen_key = keys.seen
    if SeenBackend(config, address).ask_blocking(client) == "module":
        seen_key, seen = keys.seen_days, _filters(client, keys)
    else:
        seen = _values(client, keys.seen("*"), rings.num_items)
    wanted = {"features": (rows, meta.num_users), "recent items": (recents, meta.num_recent)}
    wanted |= {"categories": (days, 0), "seen items": (seen, meta.num_seen)}
    wanted["popular items"] = (0, len(broken_counts(client, keys))), 0
    for name, ((found, broken), written) in wanted.items():
        if broken:
            return f"{broken:,} keys of {name} cannot be read"
        if found + erased < written:
            return f"{written - erased - found:,} of {written:,} keys of {name} are gone"
    return _lost(client, keys, sample, seen_key, stamps.keys())


def _lost(
    client: redis.Redis, keys: Keys, sample: Sample, seen_key: Callable[[str], str], erased: Set[bytes]
) -> str | None:
    """Which keys of a sample are gone, or None."""
    living = [
        [user for user in users if user.encode() not in erased]
        for users in (sample.features, sample.recent, sample.seen)
    ]
    named = {"features": [keys.features(user) for user in living[0]]}
    named["recent items"] = [keys.recent(user_subject(user)).encode() for user in living[1]]
    named["seen items"] = [seen_key(user_subject(user)).encode() for user in living[2]]
    for name, some in named.items():
        there = sum(client.exists(*chunk) for chunk in _chunks(iter(some)))
        if there < len(some):
            return f"keys of {name} are gone, {len(some) - there:,} of {len(some):,} that were looked up"
    return None


def _filters(client: redis.Redis, keys: Keys) -> tuple[int, int]:
    """Numbers of subjects with RedisBloom filters, and of such keys that have another type."""
    found = Counter(client.type(key) for key in client.scan_iter(keys.seen_days("*"), _CHUNK))
    filters = Counter(client.type(key) for key in client.scan_iter(keys.seen_on("*", "*"), _CHUNK))
    return found[b"zset"], found.total() - found[b"zset"] + filters.total() - filters[FILTER_TYPE]


def _values(client: redis.Redis, pattern: str, read: Callable[[bytes], object]) -> tuple[int, int]:
    """Numbers of keys that can be read, and of those that cannot."""
    found, broken = 0, 0
    for chunk in _chunks(client.scan_iter(pattern, _CHUNK)):
        for value in client.mget(chunk):
            is_broken = value is None or not _reads(read, value)  # None: of another type
            found, broken = found + (not is_broken), broken + is_broken
    return found, broken


def _rows(client: redis.Redis, config: StoreConfig, views: Sequence[FeatureViewSpec]) -> tuple[int, int]:
    """As `_values`, for Feast's rows."""
    fields = [(view, field) for view in views for field in view.fields]
    names = [feast_rows.value_field(view, field.name) for view, field in fields]
    readers = [user_features.reader(field) for _, field in fields]
    found, broken = 0, 0
    for chunk in _chunks(iter(set(feast_repo.online_keys(client, config.shop)))):
        with client.pipeline(transaction=False) as pipe:
            for key in chunk:
                pipe.hmget(key, names)
            for row in pipe.execute(raise_on_error=False):
                is_broken = isinstance(row, redis.RedisError) or not all(map(_reads, readers, row))
                found, broken = found + (not is_broken), broken + is_broken
    return found, broken


def _reads(read: Callable[[bytes], object], value: bytes) -> bool:
    try:
        read(value)
    except StoreError:
        return False
    return True


def _chunks(keys: Iterator[bytes]) -> Iterator[list[bytes]]:
    while chunk := list(islice(keys, _CHUNK)):
        yield chunk
