"""Rows read and written without Feast are Feast's, to the byte."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import StoreError
from contracts.features import FEATURE_VIEWS, USER_ACTIVITY
from serving.stores import feast_repo
from serving.stores.feast_rows import number, string_fields, text, time_field, value_field
from serving.stores.keys import Keys

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

    for view in FEATURE_VIEWS:
        assert time_field(view) == f"_ts:{view.name}".encode()
        for field in view.fields:
            assert value_field(view, field.name) == _mmh3(f"{view.name}:{field.name}")


def test_no_value_is_told_from_an_empty_one() -> None:
    assert [text(value) for value in (None, b"", b"\x12\x00")] == [None, None, ""]
    assert all(math.isnan(number(value)) for value in (None, b""))


def test_what_is_no_feature_is_refused() -> None:
    with pytest.raises(StoreError, match=r"expected a string, got b'\)x'; run the materialize job"):
        text(b"\x29x")
    with pytest.raises(StoreError, match=r"expected a double, got b'\\x12\\x01x'; run the materialize job"):
        number(b"\x12\x01x")
