"""Percent-encoded paths: access and routes read the same, whatever an id holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender_api.operations import OPERATIONS, STATUS, decode_id, encode_id, operations_at, picture_path

SEGMENT = st.sampled_from(["v1", "users", "items", "u1", "", "seen", "data", "image", "similar", "%2F", "..", "status"])


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@settings(deadline=None)
def test_ids_come_back_from_paths(raw_id: str) -> None:
    encoded = encode_id(raw_id)
    assert "/" not in encoded
    assert encoded not in {".", ".."}
    assert decode_id(encoded) == raw_id


@pytest.mark.parametrize(
    ("encoded", "says"),
    [
        ("", "the path holds an empty id; expected at least one character"),
        ("a%", "the path holds '%', which is not an escape; expected % and two hex digits, %25 for the sign itself"),
        ("%zz1", "the path holds '%zz', which is not an escape"),
        ("%FF", "the escapes in the path are not UTF-8: invalid start byte at byte 0"),
        ("%C3", "the escapes in the path are not UTF-8"),
        ("%ED%A0%80", "the escapes in the path are not UTF-8"),
    ],
)
def test_what_is_no_id_is_refused(encoded: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        decode_id(encoded)


def test_pictures_are_where_ids_are_encoded() -> None:
    assert picture_path("a/b c?") == "/v1/items/a%2Fb%20c%3F/image"


@given(segments=st.lists(SEGMENT, min_size=1, max_size=5))
@settings(deadline=None, max_examples=300)
def test_no_path_is_of_two_operations(segments: list[str]) -> None:
    """Access and answer follow one route; here it is looked for by another way, segment by segment."""
    path = "/" + "/".join(segments)
    fitting = {one.path for one in OPERATIONS if fits(one.path.split("/"), path.split("/"))}
    assert len(fitting) <= 1
    there, ids = operations_at(path)
    assert {one.path for one in there.values()} == fitting
    for one in there.values():
        assert one.path.format(**ids) == path
        assert there[one.method] is one


def fits(template: list[str], segments: list[str]) -> bool:
    return len(template) == len(segments) and all(
        wanted == got or wanted.startswith("{") for wanted, got in zip(template, segments, strict=True)
    )


def test_names_and_routes_are_distinct() -> None:
    assert len({one.name for one in OPERATIONS}) == len(OPERATIONS)
    assert len({(one.method, one.path) for one in OPERATIONS}) == len(OPERATIONS)


@pytest.mark.parametrize("permission", ["everything", "", None])
def test_an_operation_without_a_permission_is_none(permission: Any) -> None:
    with pytest.raises(ValueError, match=r"status has the permission .*; expected .*'admin', 'open'"):
        replace(STATUS, permission=permission)
