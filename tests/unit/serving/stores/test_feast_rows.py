"""Rows read and written without Feast are Feast's, to the byte."""

from __future__ import annotations

import asyncio
import math
import struct

import numpy as np
import pyarrow as pa
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import StoreError
from contracts.features import USER_ACTIVITY, feature_views, user_profile
from contracts.presets import SHOP
from serving.stores import feast_repo
from serving.stores.config import StoreConfig
from serving.stores.embedded import EmbeddedRedis
from serving.stores.feast_rows import number, string_fields, text, texts, time_field, value_field, vector
from serving.stores.keys import Keys
from serving.stores.materialize import StoreTables, materialize
from serving.stores.merge import TablesEnd
from tests.fixtures.declared import SCHEMA
from tests.fixtures.read_stores import user_features

NOW = 1_767_225_600
LONG = "ü" * 10_000


@given(st.text() | st.sampled_from([LONG, "x" * 127, "x" * 128]), st.integers(0, 253_402_300_799))
def test_strings_and_times_are_serialized_as_feast_does(value: str, event_timestamp: int) -> None:
    from feast.protos.feast.types.Value_pb2 import Value
    from google.protobuf.timestamp_pb2 import Timestamp

    serialized = Value(string_val=value).SerializeToString()
    assert string_fields(USER_ACTIVITY, {"top_category": value, "top_category_long": None}, event_timestamp) == [
        b"_ts:user_activity",
        Timestamp(seconds=event_timestamp).SerializeToString(),
        value_field(USER_ACTIVITY, "top_category"),
        serialized,
        value_field(USER_ACTIVITY, "top_category_long"),
        Value().SerializeToString(),
    ]
    assert text(serialized) == value


@given(st.floats())
def test_doubles_are_read_as_feast_writes_them(value: float) -> None:
    from feast.protos.feast.types.Value_pb2 import Value

    assert struct.pack("<d", number(Value(double_val=value).SerializeToString())) == struct.pack("<d", value)


@given(st.lists(st.text(), max_size=200))
def test_lists_of_strings_are_read_as_feast_writes_them(values: list[str]) -> None:
    from feast.protos.feast.types.Value_pb2 import StringList, Value

    assert texts(Value(string_list_val=StringList(val=values)).SerializeToString()) == tuple(values)


@given(st.lists(st.floats(width=32), min_size=1, max_size=200))
def test_lists_of_floats_are_read_as_feast_writes_them(values: list[float]) -> None:
    from feast.protos.feast.types.Value_pb2 import FloatList, Value

    found = vector(Value(float_list_val=FloatList(val=values)).SerializeToString(), len(values))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(values, dtype=np.float32))


@given(st.text())
def test_keys_are_feasts(user: str) -> None:
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    entity = EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=user)])
    assert Keys("toys").features(user) == serialize_entity_key(entity, 3) + b"toys"
    assert feast_repo.belongs_to(Keys("toys").features(user), "toys")


def test_fields_are_named_as_feast_does() -> None:
    from feast.infra.online_stores.helpers import _mmh3

    for view in feature_views(SHOP):
        assert time_field(view) == f"_ts:{view.name}".encode()
        for field in view.fields:
            assert value_field(view, field.name) == _mmh3(f"{view.name}:{field.name}")


def test_no_value_is_told_from_an_empty_one() -> None:
    assert [text(value) for value in (None, b"", b"\x12\x00")] == [None, None, ""]
    assert all(math.isnan(number(value)) for value in (None, b""))
    assert [texts(value) for value in (None, b"", b"b\x00")] == [None, None, ()]
    assert [vector(value, 2).tolist() for value in (None, b"")] == [[0, 0], [0, 0]]


def test_what_is_no_feature_is_refused() -> None:
    with pytest.raises(StoreError, match=r"expected a string, got b'\)x'; run the materialize job"):
        text(b"\x29x")
    with pytest.raises(StoreError, match=r"expected a double, got b'\\x12\\x01x'; run the materialize job"):
        number(b"\x12\x01x")


STRINGS = b"b\x08\n\x03art\n\x01t"
"""The list art, t."""
FLOATS = b"\x82\x01\n\n\x08" + struct.pack("<2f", 0.5, -1.0)


def damaged(whole: bytes) -> list[bytes]:
    """A value cut at every place, with something after it, and of another type."""
    return [*(whole[:end] for end in range(1, len(whole))), whole + b"x", b"\x12\x01x", b"\xff" * 12]


def test_damaged_lists_are_refused() -> None:
    assert texts(STRINGS) == ("art", "t")
    assert vector(FLOATS, 2).tolist() == [0.5, -1.0]
    for value in [*damaged(STRINGS), b"b\x03\n\x01\xff", b"b\x03\x12\x01t"]:
        with pytest.raises(StoreError, match=r"expected a list.*; run the materialize job"):
            texts(value)
    for value in damaged(FLOATS):
        with pytest.raises(StoreError, match=r"expected a list.*; run the materialize job"):
            vector(value, 2)
    with pytest.raises(StoreError, match="expected a list of 3 floats"):
        vector(FLOATS, 3)


PROFILES = pa.table(
    {
        "user_id": ["u1", "u2", "u3"],
        "gender": ["F", None, None],
        "age": pa.array([30.0, None, None]),
        "city": ["Köln", "", None],
        "likes": pa.array([["tea", "ü" * 200], [], None], pa.list_(pa.string())),
        "income": pa.array([1.5, float("inf"), None]),
        "taste": pa.array([[0.5, -1.0], [0.0, 2.0], None], pa.list_(pa.float32())),
        "event_timestamp": [NOW] * 3,
    }
)


@pytest.mark.redis
async def test_columns_of_every_kind_are_read_where_feast_has_written_them(
    server: EmbeddedRedis, bulk: redis.Redis, config: StoreConfig
) -> None:
    activity = pa.table(
        {name: pa.array([], pa.string()) for name in ("user_id", "top_category", "top_category_long")}
        | {"event_timestamp": pa.array([], pa.int64())}
    )
    tables = StoreTables(
        PROFILES, activity, [], [], TablesEnd(NOW // 86_400, NOW + 86_400), profile=user_profile(SCHEMA)
    )
    await asyncio.to_thread(materialize, config, server.address, tables, bundle_version="b1", written_at=NOW)

    found = await user_features(config, server.address, ["u2", "nobody", "u1", "u3"], SCHEMA)

    assert found.known.tolist() == [True, False, True, True]
    assert found.columns["city"] == ("", None, "Köln", None)
    assert found.columns["likes"] == ((), None, ("tea", "ü" * 200), None)
    np.testing.assert_array_equal(found.columns["income"], [np.inf, np.nan, 1.5, np.nan])
    assert np.asarray(found.columns["taste"]).tolist() == [[0, 2], [0, 0], [0.5, -1], [0, 0]]
    bulk.hset(Keys(config.shop).features("u1"), value_field(user_profile(SCHEMA), "taste"), FLOATS[:-1])
    broken = await user_features(config, server.address, ["u1", "u2"], SCHEMA)
    assert (broken.unreadable, broken.known.tolist()) == ({0}, [False, True])
    assert np.asarray(broken.columns["taste"]).tolist() == [[0, 0], [0, 2]]
