"""Fills the online store from tables: Feast's views, recent items, 24-hour categories and seen rings.

A run leaves the state of its tables, whatever was there before: it overwrites, then removes what is stale. Readers
see the old or the new value of a subject, never none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import chain, islice

import pyarrow as pa
import pyarrow.compute as pc
import redis
from tqdm import tqdm

from contracts.columns import USER_ID
from contracts.errors import DataError
from contracts.features import USER_ACTIVITY, USER_PROFILE, FeatureViewSpec
from serving.stores import feast_repo
from serving.stores.client import bulk_client, bulk_errors
from serving.stores.config import StoreConfig
from serving.stores.keys import Keys
from serving.stores.meta import StoreMeta
from serving.stores.table_values import EVENT_TIMESTAMP, feature_rows, recent_lists, seen_rings, with_all_users

logger = logging.getLogger(__name__)

_CHUNK = 500


@dataclass(frozen=True)
class StoreTables:
    """What the store is filled from.

    Attributes:
        profiles: a row a user: user_id, the fields of `USER_PROFILE`, event_timestamp (Unix seconds).
        activity: a row a user: user_id, the fields of `USER_ACTIVITY`, event_timestamp (Unix seconds).
        recent: tables of whole subjects with subject_id, item_id, timestamp and category_l1: at least the last
            `history_length` interactions of each, and all of the 24 hours that end at its last one; equal timestamps
            in the order in which they happened.
        seen: tables of whole subjects with subject_id, item_id and day, of at least the seen window.
    """

    profiles: pa.Table
    activity: pa.Table
    recent: Iterable[pa.Table]
    seen: Iterable[pa.Table]


def materialize(
    config: StoreConfig, address: str, tables: StoreTables, *, bundle_version: str, written_at: int
) -> StoreMeta:
    """Fills the store and leaves a marker.

    Args:
        config: the store's settings.
        address: redis:// or rediss:// address.
        tables: the content.
        bundle_version: noted in the marker.
        written_at: the clock's now, Unix seconds; noted in the marker.

    Raises:
        SchemaError: a table lacks a column or has one of a wrong type.
        DataError: a subject's rows are spread over two tables.
        StoreError: the store does not answer or refuses a write.
    """
    keys = Keys(config.shop)
    features = {USER_PROFILE: feature_rows(USER_PROFILE, tables.profiles)}
    features[USER_ACTIVITY] = feature_rows(USER_ACTIVITY, tables.activity)
    client = bulk_client(config, address)
    recent_values = chain.from_iterable(recent_lists(table, config) for table in tables.recent)
    ring_values = chain.from_iterable(seen_rings(table, config) for table in tables.seen)
    try:
        with bulk_errors(address):
            client.delete(keys.meta)
            num_users = _fill_features(client, config, address, features)
            recent = _write(client, recent_values, "recent items")
            rings = _write(client, ring_values, "seen items")
            for pattern, fresh in ((keys.recent("*"), recent), (keys.day("*"), recent), (keys.seen("*"), rings)):
                _remove_stale(client, client.scan_iter(pattern, _CHUNK), fresh)
            meta = StoreMeta(
                shop=config.shop,
                bundle_version=bundle_version,
                written_at=written_at,
                num_users=num_users,
                num_recent=len(recent) // 2,  # each subject has its recent items and its categories
                num_seen=len(rings),
            )
            client.set(keys.meta, meta.model_dump_json())
    finally:
        client.close()
    logger.info("store filled: %s", meta)
    return meta


def _fill_features(
    client: redis.Redis, config: StoreConfig, address: str, rows: Mapping[FeatureViewSpec, pa.Table]
) -> int:
    users = {user for table in rows.values() for user in table[USER_ID].to_pylist()}
    end = pc.max(pa.concat_tables([table.select([EVENT_TIMESTAMP]) for table in rows.values()])[EVENT_TIMESTAMP])
    for view, table in rows.items():
        feast_repo.write_offline(config, view, with_all_users(table, users, end))
    patient = config.model_copy(update={"read_timeout_ms": int(1000 * config.bulk_timeout_s)})
    store = feast_repo.open_store(patient, address, overwrite=True)
    feast_repo.apply_views(store, config)
    if users:
        feast_repo.materialize_views(store, end.as_py())
    found = client.scan_iter(feast_repo.online_key_pattern(config.shop), _CHUNK)
    ours = (key for key in found if feast_repo.belongs_to(key, config.shop))
    _remove_stale(client, ours, feast_repo.online_keys(config.shop, users))
    return len(users)


def _write(client: redis.Redis, values: Iterator[tuple[str, bytes]], what: str) -> Set[bytes]:
    """Sets keys to values, many at a time; the keys written."""
    written: set[bytes] = set()
    with tqdm(desc=what, unit=" keys", disable=None) as progress:
        while chunk := list(islice(values, _CHUNK)):
            with client.pipeline(transaction=True) as pipe:
                for key, value in chunk:
                    if key.encode() in written:
                        raise DataError(f"{key} comes twice; a table must hold all rows of its subjects")
                    written.add(key.encode())
                    pipe.set(key, value)
                pipe.execute()
            progress.update(len(chunk))
    return written


def _remove_stale(client: redis.Redis, found: Iterator[bytes], fresh: Set[bytes]) -> None:
    stale = (key for key in found if key not in fresh)
    while chunk := list(islice(stale, _CHUNK)):
        client.unlink(*chunk)
