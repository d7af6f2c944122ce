"""Whether a store still holds what `materialize` wrote: its keys are counted and read, for a marker proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

import redis

from contracts.bloom_edit import RingEditor
from contracts.clock import DAY_S
from contracts.errors import StoreError
from contracts.features import FEATURE_VIEWS
from serving.stores import feast_repo, feast_rows, recent
from serving.stores.client import bulk_client, bulk_errors
from serving.stores.config import StoreConfig
from serving.stores.keys import Keys
from serving.stores.meta import StoreMeta
from serving.stores.seen import ring_layout
from serving.stores.seen_backend import SeenBackend

_CHUNK: Final = 1000


def what_is_missing(config: StoreConfig, address: str, meta: StoreMeta, now: int) -> str | None:
    """Why the store must be filled again, or None.

    Keys that are new since the fill may stand for lost ones in the counts, erased users are taken into account, and a
    marker that is older than the shortest lifetime of keys says nothing.

    Args:
        config: the store's settings.
        address: of the store.
        meta: its marker.
        now: the clock's now, Unix seconds.

    Raises:
        StoreError: the store does not answer.
    """
    if now - meta.written_at >= DAY_S * min(config.session_days, config.user_days):
        return "keys have begun to expire"
    client = bulk_client(config, address)
    try:
        with bulk_errors(address):
            return _missing(client, config, address, meta)
    finally:
        client.close()


def _missing(client: redis.Redis, config: StoreConfig, address: str, meta: StoreMeta) -> str | None:
    keys, rings = Keys(config.shop), RingEditor(ring_layout(config))
    erased = sum(int(stamp) >= meta.written_at for stamp in client.hvals(keys.erased))
    rows = _rows(client, config)
    recents = _values(client, keys.recent("*"), recent.decode)
    days = _values(client, keys.day("*"), recent.decode)
    if SeenBackend(config, address).ask_blocking(client) == "module":
        seen = sum(1 for _ in client.scan_iter(keys.seen_days("*"), _CHUNK, _type="zset")), 0
    else:
        seen = _values(client, keys.seen("*"), rings.num_items)
    wanted = {"features": (rows, meta.num_users), "recent items": (recents, meta.num_recent)}
    wanted |= {"categories": (days, 0), "seen items": (seen, meta.num_seen)}
    for name, ((found, broken), written) in wanted.items():
        if broken:
            return f"{broken:,} keys of {name} cannot be read"
        if found + erased < written:
            return f"{written - erased - found:,} of {written:,} keys of {name} are gone"
    return None


def _values(client: redis.Redis, pattern: str, read: Callable[[bytes], object]) -> tuple[int, int]:
    """Keys that can be read, and those that cannot."""
    found, broken = 0, 0
    for chunk in _chunks(client.scan_iter(pattern, _CHUNK)):
        for value in client.mget(chunk):
            is_broken = value is None or not _reads(read, value)  # None: of another type
            found, broken = found + (not is_broken), broken + is_broken
    return found, broken


def _rows(client: redis.Redis, config: StoreConfig) -> tuple[int, int]:
    """The same of Feast's rows."""
    fields = [(view, field) for view in FEATURE_VIEWS for field in view.fields]
    names = [feast_rows.value_field(view, field.name) for view, field in fields]
    readers = [feast_rows.number if field.dtype == "float" else feast_rows.text for _, field in fields]
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
