"""JSON from outside: what it must not hold."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.json_text import parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(VALUES)
@settings(deadline=None)
def test_what_is_written_is_read(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "Expecting property name"),
        (b"", "Expecting value"),
        (b'"\xff"', "invalid start byte"),
        (b"[" * 100_000, "it is nested too deep"),
        (b'{"a":' * 100_000, "it is nested too deep"),
        (b"1" * 5_000, "Exceeds the limit"),
        (b"[1e999]", "1e999 is not a finite number"),
        (b"[NaN]", "NaN is not a finite number"),
        (b"[-Infinity]", "-Infinity is not a finite number"),
        (b'{"a": {"b": 1, "b": 2}}', "the key 'b' is there twice"),
    ],
)
def test_what_standard_parsers_take_or_die_of_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_json(content)
