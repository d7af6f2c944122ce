"""Feast's objects, built from the feature views of `contracts.features`; the only module that imports feast."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import warnings
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import redis
import typeguard

from contracts.columns import EVENT_TIMESTAMP, USER_ID
from contracts.features import FeatureViewSpec, feature_views
from contracts.files import make_private, private_folder
from contracts.schema import FeatureSchema
from serving.stores.client import connection_options
from serving.stores.config import StoreConfig


@contextlib.contextmanager
def _torch_kept_out() -> Iterator[None]:
    """Keeps Feast from importing torch: it takes seconds and 480 MB for a type of response that is not used here."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # makes the import fail, which Feast handles
    try:
        yield
    finally:
        del sys.modules["torch"]


def _unchecked(target: object = None, **_: object) -> object:
    """Replaces `typeguard.typechecked`, which spends 2 s at every start on compiling Feast's classes."""
    return (lambda decorated: decorated) if target is None else target


with (
    warnings.catch_warnings(),  # Feast changes the warning filters of the whole process
    _torch_kept_out(),
    mock.patch.object(typeguard, "typechecked", _unchecked),
):
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.infra.key_encoding_utils import serialize_entity_key_prefix
    from feast.infra.online_stores import redis as _feast_redis  # noqa: F401  # imported here, without torch
    from feast.types import Array, Float32, Float64, String

logger = logging.getLogger(__name__)

_TYPES = {"float": Float64, "string": String, "strings": Array(String), "floats": Array(Float32)}
_KEY_VERSION = 3
_SCANNED = 500


def registry_path(config: StoreConfig) -> Path:
    """The registry's file."""
    return config.feast_dir / "registry.db"


def repo_values(config: StoreConfig, address: str) -> dict[str, Any]:
    """The content of Feast's `feature_store.yaml` for a store."""
    return {
        "project": config.shop,
        "provider": "local",
        "registry": {"path": str(registry_path(config)), "cache_ttl_seconds": 0},  # 0 = read once: views do not change
        "online_store": {"type": "redis", "connection_string": _connection_string(config, address)},
        "offline_store": {"type": "file"},
        "entity_key_serialization_version": _KEY_VERSION,
    }


def open_store(config: StoreConfig, address: str, *, overwrite: bool = False) -> FeatureStore:
    """Feast on the store at an address.

    Args:
        config: the store's settings.
        address: redis:// or rediss:// address.
        overwrite: whether writes replace rows of the same or a later event time, for a full materialize.
    """
    values = repo_values(config, address)
    values["online_store"]["skip_dedup"] = overwrite
    logging.getLogger("feast").setLevel(logging.WARNING)  # it logs every read of its registry
    return FeatureStore(config=RepoConfig(**values))


def feature_references(schema: FeatureSchema) -> list[str]:
    """References of all features of users, as Feast's calls take them."""
    return [f"{view.name}:{field.name}" for view in feature_views(schema) for field in view.fields]


def apply_views(store: FeatureStore, config: StoreConfig, specs: Iterable[FeatureViewSpec]) -> None:
    """Registers the entity and the feature views; the offline tables must exist."""
    user = Entity(name="user", join_keys=[USER_ID], value_type=ValueType.STRING)
    views = [_feature_view(view, user, offline_path(config, view)) for view in specs]
    store.apply([user, *views])
    make_private(config.feast_dir)  # Feast's registry is not


def offline_path(config: StoreConfig, view: FeatureViewSpec) -> Path:
    """Folder of a view's offline rows (Parquet)."""
    return (config.feast_dir / "offline" / view.name).absolute()


def write_offline(config: StoreConfig, view: FeatureViewSpec, rows: pa.Table) -> None:
    """Replaces a view's offline rows: entity key, fields and `event_timestamp`."""
    folder = offline_path(config, view)
    private_folder(folder)
    temporary = folder.with_name(f"{view.name}.tmp")
    pq.write_table(rows, temporary)
    temporary.replace(folder / "rows.parquet")


def materialize_views(store: FeatureStore, end: datetime) -> None:
    """Copies the newest offline row of each entity, up to and including `end`, into the online store."""
    talk = io.StringIO()
    with contextlib.redirect_stdout(talk), contextlib.redirect_stderr(talk):
        store.materialize(datetime.fromtimestamp(0, tz=UTC), end + timedelta(seconds=1))
    logger.debug("feast: %s", talk.getvalue())


def online_keys(client: redis.Redis, shop: str) -> Iterator[bytes]:
    """Redis keys of all users of a shop, as SCAN returns them: maybe more than once."""
    return (key for key in client.scan_iter(online_key_pattern(shop), _SCANNED) if belongs_to(key, shop))


def online_key_pattern(shop: str) -> bytes:
    """SCAN pattern that matches every user key of a shop, and of shops whose names end with its name."""
    return b"".join([_key_head(), b"*", shop.encode()])


def belongs_to(key: bytes, shop: str) -> bool:
    """Whether a user key belongs to this shop; the length of the user id is part of the key."""
    return _user_and_shop(key)[1] == shop.encode()


def user_of(key: bytes) -> str:
    """The user id in a key."""
    return _user_and_shop(key)[0].decode()


def _user_and_shop(key: bytes) -> tuple[bytes, bytes]:
    start = len(_key_head()) + 4  # followed by type, length and bytes of the id
    end = start + 4 + int.from_bytes(key[start : start + 4], "little")
    return key[start + 4 : end], key[end:]


def _key_head() -> bytes:
    head: bytes = serialize_entity_key_prefix([USER_ID], _KEY_VERSION)
    return head


def _feature_view(view: FeatureViewSpec, entity: Entity, path: Path) -> FeatureView:
    return FeatureView(
        name=view.name,
        entities=[entity],
        ttl=timedelta(days=view.ttl_days),
        schema=[Field(name=field.name, dtype=_TYPES[field.dtype]) for field in view.fields],
        source=FileSource(name=f"{view.name}_rows", path=str(path), timestamp_field=EVENT_TIMESTAMP),
        online=True,
        description=view.description,
    )


def _connection_string(config: StoreConfig, address: str) -> str:
    """Feast's form: `host:port,name=value,…`; values are JSON, so that passwords may hold any character."""
    options = connection_options(config, address)
    server = f"{options.pop('host', 'localhost')}:{options.pop('port', 0)}"  # a socket is an option
    options |= {
        "socket_timeout": config.read_timeout_ms / 1000,
        "socket_connect_timeout": config.connect_timeout_ms / 1000,
        "retry": None,
    }
    pairs = [f"{name}={json.dumps(value)}".replace(",", "\\u002c") for name, value in options.items()]
    return ",".join([server, *pairs])
