"""Percent-encoded paths: access and routes read the same, whatever an id holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Match

from serving.gateway.operations import OPERATIONS, decode_id, encode_id, path_of, permission_for, picture_path
from tests.unit.serving.gateway.conftest import Shop

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
        ("a%", "the path holds '%', which is no escape; expected % and two hex digits, %25 for the sign itself"),
        ("%zz1", "the path holds '%zz', which is no escape"),
        ("%FF", "the escapes in the path are no UTF-8: invalid start byte at byte 0"),
        ("%C3", "the escapes in the path are no UTF-8"),
        ("%ED%A0%80", "the escapes in the path are no UTF-8"),
    ],
)
def test_what_is_no_id_is_refused(encoded: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        decode_id(encoded)


@pytest.mark.parametrize(
    "scope",
    [
        {"path": "/shop/v1/users/a/seen", "raw_path": b"/shop/v1/users/a%2Fseen", "root_path": "/shop"},
        {"path": "/v1/users/a/seen", "raw_path": b"/v1/users/a%2Fseen"},
    ],
)
def test_the_path_is_what_was_sent(scope: dict[str, Any]) -> None:
    assert path_of(scope) == "/v1/users/a%2Fseen"
    assert path_of({"path": "/v1/users/a b"}) == "/v1/users/a%20b"


def test_pictures_are_where_ids_are_encoded() -> None:
    assert picture_path("a/b c?") == "/v1/items/a%2Fb%20c%3F/image"


@given(segments=st.lists(SEGMENT, min_size=1, max_size=5), method=st.sampled_from(["GET", "DELETE", "POST", "HEAD"]))
@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=300)
def test_no_route_is_reached_under_the_permission_of_another(shop: Shop, segments: list[str], method: str) -> None:
    path = "/" + "/".join(segments)
    scope = {"type": "http", "method": method, "path": path, "headers": []}
    reached = set()
    for route in shop.rest.routes:
        try:
            matched = route.matches(scope)[0] is Match.FULL
        except Exception:  # an empty id: refused before anything is done
            matched = True
        if matched:
            reached.add((method.replace("HEAD", "GET"), route.path_format))
    permissions = {one.permission for one in OPERATIONS if (one.method, one.path) in reached}
    assert len(reached) <= 1
    if permissions:
        assert permissions == {permission_for(method, path)}
