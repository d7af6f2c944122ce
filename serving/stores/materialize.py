"""Fills the online store from tables: Feast's views, recent items, categories, seen rings and popularity.

The store then holds the state of the tables and all accepted events that they lack. So a run may work beside a server
that takes events, and it rebuilds a lost store. Readers always see the old or the new value of a subject.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from itertools import chain, islice

import pyarrow as pa
import pyarrow.compute as pc
import redis

from contracts.clock import DAY_S
from contracts.columns import EVENT_TIMESTAMP, TOP_CATEGORY, USER_ID
from contracts.features import USER_ACTIVITY, FeatureViewSpec, user_profile
from contracts.ids import user_of_subject, user_subject
from contracts.presets import SHOP
from contracts.user_records import RecentItems
from serving.stores import feast_repo
from serving.stores.accepted import AcceptedEvents, AcceptedSource
from serving.stores.client import bulk_client, bulk_errors
from serving.stores.config import StoreConfig
from serving.stores.fill_seen import seen_filler
from serving.stores.fill_state import CHUNK, StateFiller
from serving.stores.keys import Keys
from serving.stores.merge import TablesEnd
from serving.stores.meta import StoreMeta
from serving.stores.popular import broken_counts
from serving.stores.recent import decode_or_nothing, top_category_of
from serving.stores.table_values import feature_rows, items_by_day, recent_lists, with_all_users
from serving.stores.top_category import TopCategoryStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoreTables:
    """Tables that the store is filled from.

    Attributes:
        profiles: a row a user: user_id, the fields of `profile`, event_timestamp (Unix seconds).
        activity: a row a user: user_id, the fields of `USER_ACTIVITY`, event_timestamp (Unix seconds).
        recent: tables of whole subjects with subject_id (named as in `contracts.ids`), item_id, timestamp and
            category_l1: at least the last `history_length` interactions of each, and all of the 24 hours that end at
            its last one; equal timestamps in their order of time. Accepted events are recognised by event_id if there
            is one, else by item and second.
        seen: tables of whole subjects with subject_id, item_id, timestamp and day, of at least the seen window, and
            event_id as above.
        end: the time up to which they are complete.
        erased: users to leave out and their times of erasure (Unix seconds), in addition to those in the store.
        accepted: sources of accepted events besides the stream.
        profile: the feature view of user profiles.
    """

    profiles: pa.Table
    activity: pa.Table
    recent: Iterable[pa.Table]
    seen: Iterable[pa.Table]
    end: TablesEnd
    erased: Mapping[str, int] = field(default_factory=dict)
    accepted: AcceptedSource = field(default_factory=AcceptedSource)
    profile: FeatureViewSpec = field(default_factory=lambda: user_profile(SHOP))


def materialize(
    config: StoreConfig, address: str, tables: StoreTables, *, bundle_version: str, written_at: int
) -> StoreMeta:
    """Fills the store and leaves a marker.

    Args:
        config: the store's settings.
        address: redis:// or rediss:// address.
        tables: the content.
        bundle_version: for the marker.
        written_at: the clock's now, Unix seconds, for the marker; tables hold nothing later.

    Raises:
        ConfigError: the settings want a backend of seen items that the server lacks.
        SchemaError: a table lacks a column or has one of a wrong type.
        DataError: a subject's rows are spread over two tables.
        StoreError: the store does not answer or refuses a write, or others keep changing the same keys.
    """
    keys = Keys(config.shop)
    tables = replace(tables, end=tables.end.at_most(written_at, tables.accepted.calendar))
    features = {tables.profile: feature_rows(tables.profile, tables.profiles)}
    features[USER_ACTIVITY] = feature_rows(USER_ACTIVITY, tables.activity)
    client = bulk_client(config, address)
    try:
        with bulk_errors(address):
            client.delete(keys.meta)
            filled = _fill(client, config, address, tables, features, written_at)
            meta = StoreMeta(shop=config.shop, bundle_version=bundle_version, written_at=written_at, **filled)
            client.set(keys.meta, meta.model_dump_json())
    finally:
        client.close()
    logger.info("store filled: %s", meta)
    return meta


def _fill(
    client: redis.Redis,
    config: StoreConfig,
    address: str,
    tables: StoreTables,
    features: Mapping[FeatureViewSpec, pa.Table],
    written_at: int,
) -> dict[str, int]:
    """Fills everything; returns numbers for the marker."""
    keys = Keys(config.shop)
    erased = _remember_erased(client, keys, tables.erased, written_at)
    rows = {view: _without(table, erased) for view, table in features.items()}
    users = {user for table in rows.values() for user in table[USER_ID].to_pylist()}
    accepted = AcceptedEvents(client, config.shop, tables.accepted, erased)
    filler = StateFiller(client, config, tables.end, erased, accepted.subjects)
    recent = accepted.with_recent(tables.recent)
    filler.fill(chain.from_iterable(recent_lists(table, config) for table in recent), "recent items")
    popular: Counter[tuple[int, str]] = Counter()
    seen = seen_filler(client, config, address, filler, tables.end)
    seen.fill(_counted(accepted.with_seen(tables.seen, tables.end.last_day - config.seen_window_days + 1), popular))
    seen.clear()
    filler.clear()
    _fill_popularity(client, config, popular, tables.end.last_day)
    live = {user: day for subject, day in filler.live.items() if (user := user_of_subject(subject)) is not None}
    rows[USER_ACTIVITY] = _brought_up_to_date(rows[USER_ACTIVITY], live, users)
    _fill_features(client, config, address, rows, users, live.keys() - erased)
    _catch_up(client, config, address, tables.end, live)
    _forget_erased_meanwhile(client, keys, erased)
    return {"num_users": len(users), "num_recent": filler.num_recent, "num_seen": seen.num_seen}


def _catch_up(
    client: redis.Redis, config: StoreConfig, address: str, end: TablesEnd, known: Mapping[str, RecentItems]
) -> None:
    """Writes categories of users with interactions during the run, which Feast may have overwritten or removed.

    Args:
        client: of the store.
        config: the store's settings.
        address: of the store.
        end: of the tables.
        known: 24-hour categories that the written rows are made of, by user.
    """
    prefix = Keys(config.shop).day(user_subject(""))
    found = client.scan_iter(prefix + "*", CHUNK)
    active = []
    while chunk := list(islice(found, CHUNK)):
        users = [key.decode().removeprefix(prefix) for key in chunk]
        for user, value in zip(users, client.mget(chunk), strict=True):
            day = decode_or_nothing(value)
            if day.timestamps and day.timestamps[0] >= end.end and day != known.get(user):
                active.append(user)
    store = TopCategoryStore(config, address)
    try:
        store.refresh(active)
    finally:
        store.close()


def _forget_erased_meanwhile(client: redis.Redis, keys: Keys, known: Set[str]) -> None:
    """Removes users who were erased during the run, whose keys it may have written again."""
    for name in client.hkeys(keys.erased):
        if (user := name.decode()) not in known:
            days = client.zrange(keys.seen_days(user_subject(user)), 0, -1)
            client.delete(*keys.user_keys(user, map(int, days)))


def _remember_erased(client: redis.Redis, keys: Keys, of_tables: Mapping[str, int], now: int) -> Set[str]:
    """The erased users of the store and of the tables; writes all of them to the store.

    A time that cannot be read is replaced by that of the tables, else by now.
    """
    _remove_others(client, {keys.erased.encode()})
    known = {user.decode(): stamp for user, stamp in client.hgetall(keys.erased).items()}
    new = {user: stamp for user, stamp in of_tables.items() if user not in known}
    new |= {user: of_tables.get(user, now) for user, stamp in known.items() if not stamp.isdigit()}
    if new:
        client.hset(keys.erased, mapping=new)
    return known.keys() | of_tables.keys()


def _counted(tables: Iterable[pa.Table], popular: Counter[tuple[int, str]]) -> Iterator[pa.Table]:
    """Passes tables on and counts their interactions."""
    for table in tables:
        popular.update(items_by_day(table))
        yield table


def _fill_popularity(
    client: redis.Redis, config: StoreConfig, popular: Counter[tuple[int, str]], last_day: int
) -> None:
    """Replaces the days of the tables and keeps later ones that can be read."""
    keys = Keys(config.shop)
    client.unlink("", *broken_counts(client, keys))
    by_day: dict[int, dict[str, int]] = {day: {} for day in range(last_day - config.seen_window_days + 1, last_day + 1)}
    for (day, item_id), count in popular.items():
        if day <= last_day:
            by_day.setdefault(day, {})[item_id] = count
    with client.pipeline(transaction=True) as pipe:
        for day, counts in by_day.items():
            pipe.unlink(keys.popular(day))
            if counts:
                pipe.hset(keys.popular(day), mapping=counts)
                pipe.expire(keys.popular(day), (config.seen_window_days + 1) * DAY_S)
        pipe.execute()


def _without(rows: pa.Table, users: Set[str]) -> pa.Table:
    return rows.filter(pc.invert(pc.is_in(rows[USER_ID], pa.array(sorted(users), pa.string()))))


def _brought_up_to_date(activity: pa.Table, live: Mapping[str, RecentItems], users: Set[str]) -> pa.Table:
    """Updates the category of users with interactions that the tables may lack."""
    fresh = {user: day for user, day in live.items() if user in users}
    if not fresh:
        return activity
    old = {row[USER_ID]: row for row in activity.filter(pc.is_in(activity[USER_ID], pa.array(fresh))).to_pylist()}
    nothing = dict.fromkeys(activity.column_names)
    stamps = pa.array([day.timestamps[0] for day in fresh.values()], pa.timestamp("s", tz="UTC"))
    rows = [
        {**old.get(user, nothing), USER_ID: user, TOP_CATEGORY: top_category_of(day), EVENT_TIMESTAMP: stamp}
        for (user, day), stamp in zip(fresh.items(), stamps.to_pylist(), strict=True)
    ]
    return pa.concat_tables([_without(activity, fresh.keys()), pa.Table.from_pylist(rows, activity.schema)])


def _fill_features(
    client: redis.Redis,
    config: StoreConfig,
    address: str,
    rows: Mapping[FeatureViewSpec, pa.Table],
    users: Set[str],
    live: Set[str],
) -> None:
    """Writes Feast's rows; removes users who are neither in the tables nor active since their end."""
    end = pc.max(pa.concat_tables([table.select([EVENT_TIMESTAMP]) for table in rows.values()])[EVENT_TIMESTAMP])
    for view, table in rows.items():
        feast_repo.write_offline(config, view, with_all_users(table, set(users), end))
    patient = config.model_copy(update={"read_timeout_ms": int(1000 * config.bulk_timeout_s)})
    store = feast_repo.open_store(patient, address, overwrite=True)
    feast_repo.apply_views(store, config, rows)
    _remove_others(client, set(feast_repo.online_keys(client, config.shop)))
    if users:
        feast_repo.materialize_views(store, end.as_py())
    ours = feast_repo.online_keys(client, config.shop)
    _remove_stale(client, ours, {Keys(config.shop).features(user) for user in users | live})


def _remove_others(client: redis.Redis, found: Set[bytes]) -> None:
    """Removes keys that are no hashes: Feast cannot replace a key of another type."""
    keys = iter(found)
    while chunk := list(islice(keys, CHUNK)):
        with client.pipeline(transaction=False) as pipe:
            for key in chunk:
                pipe.type(key)
            client.unlink(*(key for key, kind in zip(chunk, pipe.execute(), strict=True) if kind != b"hash"), b"")


def _remove_stale(client: redis.Redis, found: Iterator[bytes], fresh: Set[bytes]) -> None:
    stale = (key for key in found if key not in fresh)
    while chunk := list(islice(stale, CHUNK)):
        client.unlink(*chunk)
