"""Where calls lead, by the path as it was sent."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.errors import MethodError, NotFoundError, RequestError
from recommender_api.operations import OPERATIONS
from serving.gateway.http.endpoints import Endpoints
from serving.gateway.http.routes import find_route
from serving.gateway.wire import path_of
from tests.unit.serving.gateway.conftest import Shop


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


def test_a_route_has_ids_template_and_permission() -> None:
    route = find_route("HEAD", "/v1/items/a%2Fb/similar")
    assert route.operation is not None
    assert (route.operation.name, route.ids(), route.permission) == ("similar", {"item_id": "a/b"}, "recommend")
    assert route.template == "/v1/items/{item_id}/similar"


def test_ids_are_decoded_or_refused() -> None:
    with pytest.raises(RequestError, match="the path holds an empty id"):
        find_route("GET", "/v1/items/").ids()


@pytest.mark.parametrize(
    ("method", "path", "error", "says"),
    [
        ("GET", "/v1/nothing", NotFoundError, "no path '/v1/nothing'; see /docs"),
        ("PUT", "/v1/items", MethodError, "PUT /v1/items does not exist, use GET, HEAD"),
        ("GET", "/v1/recommendations", MethodError, "GET /v1/recommendations does not exist, use POST"),
    ],
)
def test_what_leads_nowhere_says_so(method: str, path: str, error: type[Exception], says: str) -> None:
    route = find_route(method, path)
    assert (route.operation, route.permission) == (None, "admin")
    with pytest.raises(error, match=says):
        route.refuse(method, path)


def test_every_operation_has_an_endpoint(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(shop.endpoints.by_operation()) == {one.name for one in OPERATIONS}
    monkeypatch.delattr(Endpoints, "similar")
    with pytest.raises(ValueError, match="the operation 'similar' has no endpoint; write a method of that name"):
        shop.endpoints.by_operation()
