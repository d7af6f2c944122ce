"""Snapshots of the online features of all users: records for training what materialize wrote."""

from __future__ import annotations

import pyarrow as pa

from contracts.columns import USER_ID
from contracts.features import USER_ACTIVITY
from contracts.records import SERVED_MS
from serving.stores import feast_repo, feast_rows
from serving.stores.client import bulk_client, bulk_errors
from serving.stores.config import StoreConfig

_CHUNK = 500


def online_activity(config: StoreConfig, address: str) -> pa.Table:
    """Reads the features of every user in the online store.

    Changes while it reads are in the stream of served values as well, with a later time.

    Args:
        config: the store's settings.
        address: redis:// or rediss:// address.

    Returns:
        A row a user, in the columns of `contracts.records.SNAPSHOTS`; `served_ms` is the store's time at the start.

    Raises:
        StoreError: the store does not answer, or holds something else.
    """
    names = [field.name for field in USER_ACTIVITY.fields]
    fields = [feast_rows.value_field(USER_ACTIVITY, name) for name in names]
    rows: list[list[bytes | None]] = []
    client = bulk_client(config, address)
    try:
        with bulk_errors(address):
            seconds, microseconds = client.time()
            keys = sorted(set(feast_repo.online_keys(client, config.shop)))
            for start in range(0, len(keys), _CHUNK):
                with client.pipeline(transaction=False) as pipe:
                    for key in keys[start : start + _CHUNK]:
                        pipe.hmget(key, fields)
                    rows += pipe.execute()
    finally:
        client.close()
    users = [feast_repo.user_of(key) for key in keys]
    columns = {
        name: pa.array([feast_rows.text(row[place]) for row in rows], pa.string()) for place, name in enumerate(names)
    }
    served_ms = 1000 * seconds + microseconds // 1000
    return pa.table({USER_ID: pa.array(users, pa.string()), **columns, SERVED_MS: [served_ms] * len(users)})
