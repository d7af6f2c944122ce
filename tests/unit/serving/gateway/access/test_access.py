"""Keys and permissions over HTTP, without a server; refusals in the audit log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.bundle import Bundle
from contracts.config import validate
from contracts.errors import ConfigError
from contracts.presets import SHOP
from serving.gateway.access.config import AccessConfig
from serving.gateway.http.openapi import openapi_document
from serving.gateway.http.routes import find_route
from serving.gateway.shop.types import shop_types
from tests.unit.serving.gateway.calls import KEYS, PATH, call, code_of, jwt_access
from tests.unit.serving.gateway.conftest import Shop


@pytest.fixture
def audit_file(tmp_path: Path) -> Path:
    return tmp_path / "audit" / "audit.jsonl"


@pytest.fixture
def keyed(bundle: Bundle, raw_dir: Path, audit_file: Path) -> Shop:
    return Shop(bundle, raw_dir, access={"auth": "api_key", "api_keys": KEYS, "audit_file": audit_file})


@pytest.mark.parametrize("headers", [{"authorization": "Bearer shop-key"}, {"x-api-key": "shop-key"}])
async def test_the_owner_of_a_key_is_answered(keyed: Shop, headers: dict[str, str]) -> None:
    assert (await call(keyed, "POST", PATH, headers)).status_code == 200
    assert (await call(keyed, "GET", "/v1/items", headers)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({}, "no credential; send the header 'Authorization: Bearer"),
        ({"authorization": "Bearer other-key"}, "the API key is not known"),
        ({"x-api-key": KEYS[0]["sha256"]}, "the API key is not known"),
        ({"x-api-key": ""}, "the API key is not known"),
        ({"authorization": "Basic shop-key"}, "not of the form 'Bearer"),
        ({"authorization": "Bearer"}, "not of the form 'Bearer"),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", PATH), ("GET", "/v1/status"), ("GET", "/v1/nothing")])
async def test_others_are_told_to_say_who_they_are(
    keyed: Shop, method: str, path: str, headers: dict[str, str], says: str
) -> None:
    response = await call(keyed, method, path, headers)
    assert (response.status_code, code_of(response)) == (401, "unauthenticated")
    assert says in response.json()["error"]["message"]
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["x-request-id"]


async def test_a_known_caller_without_the_permission_is_forbidden(keyed: Shop) -> None:
    response = await call(keyed, "POST", PATH, {"x-api-key": "office-key"})
    assert (response.status_code, code_of(response)) == (403, "forbidden")
    assert response.json()["error"] == {
        "code": "forbidden",
        "message": "POST /v1/recommendations needs the permission 'recommend', 'office' has personal_data",
        "details": {"needed": "recommend"},
    }


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/v1/ready", "/v1/items/i1/image"])
async def test_some_paths_are_open_to_everybody(keyed: Shop, path: str) -> None:
    assert (await call(keyed, "GET", path)).status_code in {200, 503}
    assert (await call(keyed, "DELETE", path)).status_code == 401


def test_every_operation_has_a_permission_of_its_own() -> None:
    found = {
        (method.upper(), path): find_route(
            method.upper(), path.replace("{item_id}", "a%2Fb").replace("{user_id}", "u%2F1")
        ).permission
        for path, methods in openapi_document(shop_types(SHOP))["paths"].items()
        for method in methods
    }
    assert "admin" not in found.values(), "an operation that no rule names"
    assert {key for key, needed in found.items() if needed == "open"} == {
        ("GET", "/v1/ready"),
        ("GET", "/v1/items/{item_id}/image"),
    }


def test_the_description_names_the_permissions() -> None:
    document = openapi_document(shop_types(SHOP))
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            needed = find_route(method.upper(), path).permission
            assert ("security" in operation) == (needed != "open")
            if needed != "open":
                assert f"`{needed}`" in operation["description"]
                assert {"401", "403", "503"} <= set(operation["responses"])
    assert set(document["components"]["securitySchemes"]) == {"bearer", "api_key"}


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("POST", "/v1/interactions", "write_events"),
        ("DELETE", "/v1/users/u1", "personal_data"),
        ("DELETE", "/v1/users/u1/seen", "personal_data"),
        ("GET", "/v1/users/u1/data", "personal_data"),
        ("HEAD", "/v1/items", "recommend"),
        ("GET", "/docs/../v1/status", "admin"),
        ("GET", "/v1/items/../users/u1/data", "admin"),
        ("GET", "/v1/items/x%2Fimage", "recommend"),
        ("GET", "/v1/items/x/image", "open"),
        ("GET", "/v1/items/x/y/image", "admin"),
        ("DELETE", "/v1/users/a%2Fseen", "personal_data"),
        ("PUT", "/v1/items", "admin"),
        ("GET", "/v1/anything", "admin"),
    ],
)
def test_permissions_by_route(method: str, path: str, needed: str) -> None:
    assert find_route(method, path).permission == needed


@pytest.mark.parametrize(("headers", "status"), [({}, 401), ({"x-api-key": "office-key"}, 403)])
async def test_who_is_refused_anyway_sees_nothing_of_an_audit_log_that_takes_no_lines(
    keyed: Shop, audit_file: Path, headers: dict[str, str], status: int
) -> None:
    audit_file.mkdir(parents=True)
    assert (await call(keyed, "POST", PATH, headers)).status_code == status
    audit_file.rmdir()
    await call(keyed, "POST", PATH)
    (line,) = (json.loads(line) for line in audit_file.read_text().splitlines())
    assert line["left_out_before"] == 1


async def test_refusals_are_in_the_audit_log(keyed: Shop, audit_file: Path) -> None:
    await call(keyed, "POST", PATH, {"x-api-key": "shop-key"})
    await call(keyed, "POST", PATH, {"x-api-key": "office-key", "x-request-id": "r1"})
    await call(keyed, "GET", "/v1/status", {"x-request-id": "r2"})
    lines = [json.loads(line) for line in audit_file.read_text().splitlines()]
    assert [
        (line["event"], line["request_id"].split(".")[0], line["caller"], line["code"], line["path"]) for line in lines
    ] == [
        ("refusal", "r1", "office", "forbidden", PATH),
        ("refusal", "r2", None, "unauthenticated", "/v1/status"),
    ]
    assert "office-key" not in audit_file.read_text()
    assert audit_file.stat().st_mode & 0o077 == 0


REFUSED_CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"auth": "api_key"}, "auth='api_key' with 0 api_keys; api_keys go with auth='api_key'"),
    ({"api_keys": KEYS}, "auth='none' with 2 api_keys"),
    ({"auth": "jwt"}, "auth='jwt' with no jwt section"),
    ({**jwt_access("keys.json"), "auth": "none"}, "auth='none' with a jwt section"),
    ({"auth": "api_key", "api_keys": [KEYS[0], {**KEYS[1], "name": "shop"}]}, "name 'shop' occurs twice"),
    ({"auth": "api_key", "api_keys": [{**KEYS[0], "sha256": "shop-key"}]}, "String should match pattern"),
    ({"auth": "api_key", "api_keys": [{**KEYS[0], "permissions": ["everything"]}]}, "Input should be 'recommend'"),
    (jwt_access("http://issuer.example/keys"), "keys over plain http could be anybody's"),
    (jwt_access("keys.json", algorithms=["HS256"]), "Input should be 'RS256'"),
    ({"auth": "password"}, "Input should be 'none', 'api_key' or 'jwt'"),
]


@pytest.mark.parametrize(("values", "says"), REFUSED_CONFIGS, ids=[says for _, says in REFUSED_CONFIGS])
def test_settings_that_cannot_be_meant_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(AccessConfig, values, source="x")
    assert says in str(caught.value)


async def test_pages_of_named_origins_may_call_and_others_may_not(bundle: Bundle, raw_dir: Path) -> None:
    shop = Shop(
        bundle,
        raw_dir,
        access={"auth": "api_key", "api_keys": KEYS},
        gateway={"cors_origins": ["https://shop.example"]},
    )
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    asked = await call(shop, "OPTIONS", PATH, {"origin": "https://shop.example", **preflight})
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, "https://shop.example")
    refused = await call(shop, "POST", PATH, {"origin": "https://shop.example"})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://shop.example")
    other = await call(shop, "OPTIONS", PATH, {"origin": "https://other.example", **preflight})
    assert other.status_code == 400
    assert "access-control-allow-origin" not in other.headers


async def test_no_page_may_call_by_default(client: httpx.AsyncClient) -> None:
    response = await client.post(PATH, json={}, headers={"origin": "https://shop.example"})
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("origin", ["*", "shop.example", "https://shop.example/path", "https://*.example"])
def test_origins_are_named_one_by_one(bundle: Bundle, raw_dir: Path, origin: str) -> None:
    with pytest.raises(ValueError, match="is no origin; expected scheme and host"):
        Shop(bundle, raw_dir, gateway={"cors_origins": [origin]})
