"""Users' columns of the shop's own: what serving encodes from the online store is what training reads of the run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from contracts import columns as c
from contracts.encoded import EncodedColumns
from contracts.feature import Feature, FeatureKind, Side
from contracts.features import user_profile
from contracts.presets import SHOP
from contracts.schema import FeatureSchema, SideLayout
from contracts.user_records import UserRecords
from serving.stages.query_features import user_values
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.embedded import EmbeddedRedis
from serving.stores.materialize import StoreTables, materialize
from serving.stores.merge import TablesEnd
from tests.fixtures.declared import SCHEMA
from tests.fixtures.plain_preprocess import run_without_ray
from tests.fixtures.raw_tables import FIRST_DAY, START, write_shop, write_table
from tests.fixtures.read_stores import user_features
from tests.fixtures.served_bundle import request_batch
from training.features import preprocess as job
from training.features.config import PreprocessConfig
from training.features.events import profile_of
from training.features.online import final_activity, final_profiles
from training.features.processed import Processed, open_processed

pytestmark = pytest.mark.redis


def write_raw(raw_dir: Path) -> None:
    """The small shop, whose users, items and interactions have columns of their own."""
    write_shop(raw_dir)
    own = {
        "users": {
            "city": ["Köln", None, "Bonn"],
            "likes": [["tea", "art", "golf", "tea", "chess"], [], None],
            "income": [80.0, None, 20.0],
            "taste": [[0.5, -1.0], None, [1.0, 2.0]],
        },
        "items": {
            "brand": ["acme", "acme", "rare", None],
            "tags": [["new"], None, [], ["new"]],
            "litres": [1, 2, 3, 4],
        },
    }
    for table, columns in own.items():
        rows = pq.read_table(raw_dir / table / "part-0.parquet").to_pydict()
        write_table(raw_dir / table, {**rows, **columns})
    for path in (raw_dir / "interactions").rglob("*.parquet"):
        rows = pq.read_table(path, partitioning=None)
        write_table(path.parent, {**rows.to_pydict(), "country": ["DE"] * len(rows)}, path.name)


def arrays_of(columns: EncodedColumns) -> list[np.ndarray]:
    return [columns.codes, columns.numbers, *columns.lists, *columns.vectors]


async def served(processed: Processed, config: StoreConfig, address: str, users: list[str]) -> EncodedColumns:
    """What serving makes of users whom the job has written to the store."""
    tables = StoreTables(
        final_profiles(processed),
        final_activity(processed),
        [],
        [],
        TablesEnd(FIRST_DAY + 5, START),
        profile=user_profile(SCHEMA),
    )
    await asyncio.to_thread(materialize, config, address, tables, bundle_version="b1", written_at=START)
    found = await user_features(config, address, users, SCHEMA)
    nobody = UserRecords.anonymous(len(users))
    records = UserRecords(found.known, found.columns, nobody.recent, nobody.degraded)
    values = user_values(request_batch(len(users), user_ids=tuple(users)), records)
    return processed.transforms.columns(profile_of(SCHEMA), values, len(users))


async def test_users_are_encoded_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_run", run_without_ray)
    write_raw(tmp_path / "raw")
    job.preprocess(PreprocessConfig(), tmp_path / "raw", tmp_path / "run", shop="tiny", schema=SCHEMA)
    processed = open_processed(tmp_path / "run")
    events = processed.events()
    users = [str(subject) for subject in events.subject_ids if str(subject) in ("u1", "u2")]
    rows = [list(events.subject_ids).index(user) for user in users]
    assert sorted(users) == ["u1", "u2"]
    config = StoreConfig(shop="tiny", feast_dir=tmp_path / "feast", read_timeout_ms=20_000)
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=tmp_path / "redis")) as server:
        online = await served(processed, config, server.address, users)
        more = FeatureSchema((*SHOP.features, Feature(name="club", side=Side.QUERY, kind=FeatureKind.CATEGORICAL)))
        of_schema = [await user_features(config, server.address, users, schema) for schema in (SCHEMA, SHOP, more)]

    for found in of_schema:  # bundles of other schemas read the same rows
        assert found.known.all()
        for name in set(found.columns) & set(of_schema[0].columns):
            np.testing.assert_equal(list(found.columns[name]), list(of_schema[0].columns[name]))
    assert of_schema[2].columns["club"] == (None, None)
    offline = events.profile.take(np.array(rows))
    for ours, theirs in zip(arrays_of(online), arrays_of(offline), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    names = SideLayout.of(profile_of(SCHEMA))
    assert events.profile_names == names
    first = users.index("u1")
    assert online.codes[first, names.codes.index(c.USER_ID)] > 0
    assert online.vectors[0][first].tolist() == [0.5, -1.0]
    assert (online.lists[0][first] > 0).sum() == 3
    assert set(names.lists) <= set(SCHEMA.layout(Side.QUERY).lists)
