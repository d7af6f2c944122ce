"""Keys, tokens and permissions over HTTP, without a server; refusals in the audit log."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from contracts.bundle import Bundle
from contracts.config import validate
from contracts.errors import ConfigError
from serving.gateway import tokens
from serving.gateway.access import AccessConfig, permission_for
from serving.gateway.audit import AuditLog
from serving.gateway.openapi import openapi_document
from tests.fixtures.local_server import served_locally
from tests.unit.serving.gateway.conftest import Shop

PATH = "/v1/recommendations"
ISSUER, AUDIENCE = "https://issuer.example", "recommender"


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


KEYS = [
    {"name": "shop", "sha256": sha256("shop-key"), "permissions": ["recommend", "write_events"]},
    {"name": "office", "sha256": sha256("office-key"), "permissions": ["personal_data"]},
]


async def call(shop: Shop, method: str, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    transport = httpx.ASGITransport(app=shop.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        return await client.request(method, path, headers=headers, json={} if method == "POST" else None)


def code_of(response: httpx.Response) -> str:
    return str(response.json()["error"]["code"])


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
        ({"x-api-key": sha256("shop-key")}, "the API key is not known"),
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
        (method.upper(), path): permission_for(
            method.upper(), path.replace("{item_id}", "a/b").replace("{user_id}", "u/1")
        )
        for path, methods in openapi_document()["paths"].items()
        for method in methods
    }
    assert "admin" not in found.values(), "an operation that no rule names"
    assert {key for key, needed in found.items() if needed == "open"} == {
        ("GET", "/v1/ready"),
        ("GET", "/v1/items/{item_id}/image"),
    }


def test_the_description_names_the_permissions() -> None:
    document = openapi_document()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            needed = permission_for(method.upper(), path)
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
        ("GET", "/v1/items/../users/u1/data", "recommend"),
        ("PUT", "/v1/items", "admin"),
        ("GET", "/v1/anything", "admin"),
    ],
)
def test_permissions_by_route(method: str, path: str, needed: str) -> None:
    assert permission_for(method, path) == needed


async def test_refusals_are_in_the_audit_log(keyed: Shop, audit_file: Path) -> None:
    await call(keyed, "POST", PATH, {"x-api-key": "shop-key"})
    await call(keyed, "POST", PATH, {"x-api-key": "office-key", "x-request-id": "r1"})
    await call(keyed, "GET", "/v1/status", {"x-request-id": "r2"})
    lines = [json.loads(line) for line in audit_file.read_text().splitlines()]
    assert [(line["event"], line["request_id"], line["caller"], line["code"], line["path"]) for line in lines] == [
        ("refusal", "r1", "office", "forbidden", PATH),
        ("refusal", "r2", None, "unauthenticated", "/v1/status"),
    ]
    assert "office-key" not in audit_file.read_text()
    assert audit_file.stat().st_mode & 0o077 == 0


def test_a_flood_of_refusals_is_counted_not_written(audit_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    audit = AuditLog(audit_file, max_refusals_per_s=2)
    for _ in range(10):
        audit.refusal(code="unauthenticated", path="x" * 9_999)
    audit.event("erasure", caller="office", user_id="u1")
    now = 1_001.0
    audit.refusal(code="unauthenticated")
    lines = [json.loads(line) for line in audit_file.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["refusal", "refusal", "erasure", "refusal"]
    assert [line.get("left_out_before") for line in lines] == [0, 0, None, 8]
    assert max(len(line) for line in audit_file.read_text().splitlines()) < 500


def test_without_a_file_the_service_logs_refusals(caplog: pytest.LogCaptureFixture) -> None:
    AuditLog(None, 5).refusal(code="forbidden", request_id="r7")
    assert '"event":"refusal"' in caplog.text
    assert '"request_id":"r7"' in caplog.text


RSA_KEY, OTHER_RSA_KEY = (rsa.generate_private_key(public_exponent=65_537, key_size=2_048) for _ in range(2))
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def key_set(**keys: Any) -> dict[str, Any]:
    def entry(name: str, key: Any) -> dict[str, Any]:
        algorithm: Any = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
        return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": name, "use": "sig"}

    return {"keys": [entry(name, key) for name, key in keys.items()]}


def token(key: Any = RSA_KEY, kid: str | None = "one", algorithm: str = "RS256", **changed: Any) -> str:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "shop", "exp": time.time() + 600, "scope": "recommend other"}
    claims = {name: value for name, value in (claims | changed).items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers=None if kid is None else {"kid": kid})


def jwt_access(jwks: str, **changed: Any) -> dict[str, Any]:
    return {"auth": "jwt", "jwt": {"jwks": jwks, "issuer": ISSUER, "audience": AUDIENCE, **changed}}


@pytest.fixture
def with_tokens(bundle: Bundle, raw_dir: Path, tmp_path: Path) -> Shop:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(key_set(one=RSA_KEY, two=EC_KEY)))
    return Shop(bundle, raw_dir, access=jwt_access(str(file)))


async def ask(shop: Shop, given: str) -> httpx.Response:
    return await call(shop, "POST", PATH, {"authorization": f"Bearer {given}"})


async def test_bearers_of_valid_tokens_are_answered(with_tokens: Shop) -> None:
    for given in (token(), token(EC_KEY, "two", "ES256"), token(scope=["recommend"]), token(aud=["x", AUDIENCE])):
        assert (await ask(with_tokens, given)).status_code == 200
        assert (await ask(with_tokens, given)).status_code == 200, "remembered"


BAD_TOKENS = {
    "Signature has expired": lambda: token(exp=time.time() - 31),
    "Audience doesn't match": lambda: token(aud="somebody else"),
    "Invalid issuer": lambda: token(iss="https://other.example"),
    'missing the "exp" claim': lambda: token(exp=None),
    'missing the "sub" claim': lambda: token(sub=None),
    "Signature verification failed": lambda: token(OTHER_RSA_KEY),
    "not yet valid": lambda: token(nbf=time.time() + 600),
    "a key 'three' that the issuer does not have": lambda: token(kid="three"),
    "a key None that the issuer does not have": lambda: token(kid=None),
    "The specified alg value is not allowed": lambda: token("secret" * 10, "one", "HS256"),
    "the token has 9000 characters": lambda: "x" * 9_000,
    "Not enough segments": lambda: "nonsense",
}


@pytest.mark.parametrize("says", BAD_TOKENS)
async def test_other_tokens_are_refused_with_the_reason(with_tokens: Shop, says: str) -> None:
    response = await ask(with_tokens, BAD_TOKENS[says]())
    assert (response.status_code, code_of(response)) == (401, "unauthenticated")
    assert says in response.json()["error"]["message"]


@pytest.mark.parametrize("scope", ["other", "", None, 7, ["admin", 7], "recommendations"])
async def test_a_token_without_the_permission_is_forbidden(with_tokens: Shop, scope: Any) -> None:
    assert code_of(await ask(with_tokens, token(scope=scope))) == "forbidden"


async def test_a_token_is_remembered_for_a_minute_at_most_and_not_past_its_end(with_tokens: Shop) -> None:
    short, long = token(exp=int(time.time()) + 5), token()
    for given in (short, long):
        assert (await ask(with_tokens, given)).status_code == 200
    remembered = with_tokens.access._authenticate._remembered  # type: ignore[union-attr, attr-defined]
    assert remembered[short][0] <= time.time() + 35, "five seconds and the leeway"
    assert time.time() + 50 < remembered[long][0] <= time.time() + 60
    remembered[short] = (time.time() - 1, remembered[short][1])
    assert (await ask(with_tokens, short)).status_code == 200, "verified anew"
    assert remembered[short][0] > time.time()


class Issuer:
    """Serves a key set that can be changed and taken away."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] | None = key_set(one=RSA_KEY)
        self.page = b""
        self.asked = 0
        self.app = Starlette(routes=[Route("/keys", self.show)])

    async def show(self, request: Request) -> Response:
        self.asked += 1
        if self.page:
            return Response(self.page)
        return JSONResponse(self.keys, 200 if self.keys is not None else 500)


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def fetching(issuer: Issuer, bundle: Bundle, raw_dir: Path) -> Iterator[Shop]:
    with served_locally(issuer.app) as address:
        yield Shop(bundle, raw_dir, access=jwt_access(f"{address}/keys"))


async def test_keys_are_fetched_once(fetching: Shop, issuer: Issuer) -> None:
    for number in range(3):
        assert (await ask(fetching, token(number=number))).status_code == 200
    for _ in range(3):
        assert (await ask(fetching, token(kid="three"))).status_code == 401
    assert issuer.asked == 1, "unknown keys do not make us ask all the time"


async def test_new_keys_are_found_and_old_ones_outlive_the_issuer(
    fetching: Shop, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(tokens.time, "monotonic", lambda: now)
    assert (await ask(fetching, token())).status_code == 200
    issuer.keys = key_set(one=RSA_KEY, two=EC_KEY)
    now += 6
    assert (await ask(fetching, token(EC_KEY, "two", "ES256"))).status_code == 200
    issuer.keys = None
    now += 301
    assert (await ask(fetching, token(number=2))).status_code == 200
    assert issuer.asked == 3
    issuer.page = b"<html>maintenance</html>"
    now += 301
    for number in (3, 4):
        assert (await ask(fetching, token(number=number))).status_code == 200
    assert issuer.asked == 4


async def test_without_any_key_the_service_is_not_available(fetching: Shop, issuer: Issuer) -> None:
    issuer.keys = None
    response = await ask(fetching, token())
    assert (response.status_code, code_of(response)) == (503, "keys_unavailable")


REFUSED_CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"auth": "api_key"}, "auth='api_key' with 0 api_keys; api_keys go with auth='api_key'"),
    ({"api_keys": KEYS}, "auth='none' with 2 api_keys"),
    ({"auth": "jwt"}, "auth='jwt' with no jwt section"),
    ({**jwt_access("keys.json"), "auth": "none"}, "auth='none' with a jwt section"),
    ({"auth": "api_key", "api_keys": [KEYS[0], {**KEYS[1], "name": "shop"}]}, "name 'shop' is there twice"),
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


@pytest.mark.parametrize("content", ["", "[]", '{"keys": []}', '{"keys": [{"kty": "RSA"}]}'])
def test_a_file_without_keys_is_refused(bundle: Bundle, raw_dir: Path, tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"access\.jwt\.jwks: .*keys\.json holds no JSON Web Key Set"):
        Shop(bundle, raw_dir, access=jwt_access(str(file)))


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
