"""JSON Web Tokens over HTTP: which are taken, and where the keys come from."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from contracts.bundle import Bundle
from contracts.errors import ConfigError
from tests.unit.serving.gateway.calls import AUDIENCE, ISSUER, PATH, call, code_of, jwt_access
from tests.unit.serving.gateway.conftest import Shop

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


def signed(claims: str, header: str = '{"alg": "RS256", "kid": "one"}') -> str:
    """A token with any text for claims and header."""
    parts = [base64.urlsafe_b64encode(part.encode()).rstrip(b"=") for part in (header, claims)]
    signature = RSAAlgorithm(RSAAlgorithm.SHA256).sign(b".".join(parts), RSA_KEY)
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def claims(**changed: str) -> str:
    """Claims as JSON text, of which some are replaced by any text."""
    texts = {"iss": f'"{ISSUER}"', "aud": f'"{AUDIENCE}"', "sub": '"shop"', "exp": "9999999999", "scope": '"recommend"'}
    return "{" + ", ".join(f'"{name}": {text}' for name, text in (texts | changed).items()) + "}"


HUGE, DEEP = "1" + "0" * 400, "[" * 2_000 + "]" * 2_000
ODD_CLAIMS: list[dict[str, str]] = [
    *({"exp": text} for text in ('"9999999999"', HUGE, "NaN", "Infinity", "1e999", "true", "-1", "[]", "{}", DEEP)),
    *({"nbf": text} for text in ('"1"', "NaN", "-Infinity", f"-{HUGE}", "true", "[1]")),
    *({"iat": text} for text in ('"1"', "NaN", f"-{HUGE}", "false")),
    *({"sub": text} for text in ('"\\ud800"', "7", "[]", "null")),
    *({"iss": text} for text in ("[]", "{}", "7", '"\\ud800"')),
    *({"aud": text} for text in ("{}", "7", "[[]]", "[7]")),
    {"jti": "7"},
]
ODD_HEADERS = [
    '{"alg": "RS256", "kid": 7}',
    '{"alg": "RS256", "kid": ["one"]}',
    '{"alg": "RS256", "kid": "\\ud800"}',
    '{"alg": ["RS256"], "kid": "one"}',
    '{"alg": "none", "kid": "one"}',
    '{"alg": "ES256", "kid": "one"}',
    '{"alg": "RS256", "kid": "two"}',
    '{"alg": "RS256", "kid": "one", "crit": ["\\ud800"]}',
    '{"alg": "RS256", "kid": "one", "b64": false}',
    f'{{"alg": "RS256", "kid": "one", "x": {"9" * 5_000}}}',
    '{"alg": "RS256", "kid": "one", "x": ' + DEEP + "}",
    "[]",
    "",
]


async def test_a_token_that_is_signed_and_odd_is_refused_like_any_other(with_tokens: Shop) -> None:
    assert (await ask(with_tokens, signed(claims()))).status_code == 200
    odd = [signed(claims(**changed)) for changed in ODD_CLAIMS]
    odd += [signed(text) for text in ("[]", "7", "", "{", DEEP)]
    odd += [signed(claims(), header) for header in ODD_HEADERS]
    for given in odd:
        response = await ask(with_tokens, given)
        assert (response.status_code, code_of(response)) == (401, "unauthenticated"), given


async def test_names_that_are_no_permissions_are_not_told(with_tokens: Shop) -> None:
    response = await ask(with_tokens, signed(claims(scope='"\\ud800 write_events"')))
    assert response.json()["error"]["message"].endswith("'shop' has write_events")


async def test_keys_for_encryption_verify_nothing(bundle: Bundle, raw_dir: Path, tmp_path: Path) -> None:
    keys = key_set(one=RSA_KEY, two=EC_KEY)
    keys["keys"][0]["use"] = "enc"
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(keys))
    shop = Shop(bundle, raw_dir, access=jwt_access(str(file)))
    assert "a key 'one' that the issuer does not have" in (await ask(shop, token())).text
    assert (await ask(shop, token(EC_KEY, "two", "ES256"))).status_code == 200
    file.write_text(json.dumps({"keys": keys["keys"][:1]}))
    with pytest.raises(ConfigError, match=r"keys\.json has no key that signs, only keys with another `use`"):
        Shop(bundle, raw_dir, access=jwt_access(str(file)))


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


@pytest.mark.parametrize("content", ["", "[]", '{"keys": []}', '{"keys": [{"kty": "RSA"}]}'])
def test_a_file_without_keys_is_refused(bundle: Bundle, raw_dir: Path, tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"access\.jwt\.jwks: .*keys\.json holds no JSON Web Key Set"):
        Shop(bundle, raw_dir, access=jwt_access(str(file)))
