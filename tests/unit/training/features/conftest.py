"""Encoded rows and the run they belong to, without Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contracts import columns as c
from contracts.clock import DAY_S
from contracts.presets import SHOP
from contracts.schema import FeatureSchema
from tests.fixtures.plain_preprocess import run_without_ray
from tests.fixtures.raw_tables import FIRST_DAY, START
from training.features import preprocess as job
from training.features.config import PreprocessConfig
from training.features.encode import EncodeSpec, encode, encoded_schema
from training.features.hashing import hash_strings, partitions_of
from training.features.partition import EVENTS_DIR, SUBJECTS_DIR, PartitionSpec
from training.tables import empty_table

USERS = ("u1", "u2", "u3")
ITEMS = ("i1", "i2", "i3")

Encode = Callable[..., pa.Table]


@pytest.fixture
def encode_rows() -> Encode:
    """Encodes rows given as mappings of raw columns; all of one partition unless told otherwise."""

    def run(rows: list[Mapping[str, Any]], num_partitions: int = 1, extra: tuple[c.Column, ...] = ()) -> pa.Table:
        schema = empty_table(c.INTERACTIONS.with_columns(extra)).schema
        spec = EncodeSpec(
            user_ids=pa.array(USERS),
            item_ids=pa.array(ITEMS),
            user_partition=partitions_of(USERS, num_partitions),
            num_partitions=num_partitions,
            start=START,
            end=START + 5 * DAY_S,
            erased=pa.array(["gone"], pa.string()),
            extra=extra,
        )
        encoded = encode(pa.Table.from_pylist([{"timestamp": START, **row} for row in rows], schema=schema), spec)
        assert encoded.schema == encoded_schema(extra)
        return encoded

    return run


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., PartitionSpec]:
    """A run whose folder is `tmp_path`; i1 and i2 are of category 1, i3 of category 2."""

    def build(extra: tuple[c.Column, ...] = (), schema: FeatureSchema = SHOP, **config: Any) -> PartitionSpec:
        for name in (EVENTS_DIR, SUBJECTS_DIR):
            (tmp_path / name).mkdir(exist_ok=True)
        users = {c.USER_ID: USERS, c.AGE: [30.0, None, 50.0], c.GENDER: ["F", None, "M"]}
        return PartitionSpec(
            config=PreprocessConfig(**config),
            out_dir=tmp_path,
            users=pa.table({name: pa.array(values) for name, values in users.items()}),
            item_category=np.array([1, 1, 2], dtype=np.int32),
            item_hash=hash_strings(ITEMS),
            item_launch=np.zeros(len(ITEMS), dtype=np.int64),
            first_day=FIRST_DAY,
            train_end_day=FIRST_DAY + 2,
            validation_end_day=FIRST_DAY + 3,
            last_day=FIRST_DAY + 4,
            extra=extra,
            context=schema.read_from("context"),
        )

    return build


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the start of Ray's workers; that both ways are equal is a test of its own."""
    monkeypatch.setattr(job, "_run", run_without_ray)
