"""JSON Web Tokens, verified by PyJWT with the public keys of their issuer."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from pathlib import Path
from typing import Final, NamedTuple, get_args
from urllib.parse import urlsplit

import httpx
import jwt

from contracts.errors import ConfigError, KeysUnavailableError, UnauthenticatedError
from contracts.json_text import parse_object
from recommender_api.operations import Permission
from serving.gateway.access.caller import Caller
from serving.gateway.access.config import JwtConfig

_MAX_REMEMBERED: Final = 4_096
_MAX_TOKEN_CHARS: Final = 8_192
_MAX_KEY_SET_BYTES: Final = 2**20
_TRUST_S: Final = 60.0
_RETRY_S: Final = 5.0
_TIMES: Final = ("exp", "nbf", "iat")
_LAST_TIME: Final = 2.0**53
"""Larger numbers are no plausible times."""
_KNOWN: Final = frozenset(get_args(Permission))
_log = logging.getLogger(__name__)


class _Claims(NamedTuple):
    caller: Caller
    expires_at: float


class TokenVerifier:
    """Finds bearer and permissions of tokens.

    Signature, issuer, audience and expiry are checked once; for a minute after that, the token is only looked up. Keys
    are fetched in the background, by one fetch at a time, every few seconds at most. Only a call with an unknown key
    waits for it.

    Args:
        config: the accepted tokens.

    Raises:
        ConfigError: the file with the keys cannot be read.
    """

    def __init__(self, config: JwtConfig) -> None:
        self._config = config
        self._tls: ssl.SSLContext | None = None
        self._keys: dict[str, jwt.PyJWK] = {}
        self._asked_at = float("-inf")
        self._failure: str | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._remembered: dict[str, tuple[float, Caller]] = {}
        if urlsplit(config.jwks).scheme in {"http", "https"}:
            self._tls = ssl.create_default_context()
        else:
            self._keys = _keys_of_file(Path(config.jwks))

    async def __call__(self, token: str) -> Caller:
        """The bearer.

        Raises:
            UnauthenticatedError: the token is malformed, expired, or for another audience.
            KeysUnavailableError: the keys cannot be fetched and this one is not known.
        """
        known = self._remembered.get(token)
        if known is not None and known[0] > time.time():
            return known[1]
        if len(token) > _MAX_TOKEN_CHARS:
            raise UnauthenticatedError(f"the token has {len(token)} characters, at most {_MAX_TOKEN_CHARS} are read")
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
        except Exception as error:  # any error that a malformed token causes in the library
            raise _not_valid(error) from None
        key = await self._key(key_id)
        try:
            claims = self._claims(token, key)
        except Exception as error:
            raise _not_valid(error) from None
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[token] = min(time.time() + _TRUST_S, claims.expires_at + self._config.leeway_s), claims.caller
        return claims.caller

    def _claims(self, token: str, key: jwt.PyJWK) -> _Claims:
        """The claims of a valid token; checks, as PyJWT does not, that its times are numbers."""
        claims = jwt.decode(
            token,
            key,
            algorithms=list(self._config.algorithms),
            issuer=self._config.issuer,
            audience=self._config.audience,
            leeway=self._config.leeway_s,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
        for name in _TIMES:
            time_s = claims.get(name, 0)
            if isinstance(time_s, bool) or not isinstance(time_s, int | float) or not 0 <= time_s <= _LAST_TIME:
                raise ValueError(f"{name} is no number of Unix seconds within [0, 2^53]")
        claims["sub"].encode()  # refuses lone surrogates, which cannot be sent or logged
        permissions = _names(claims.get(self._config.permissions_claim))
        return _Claims(Caller(claims["sub"], permissions), claims["exp"])

    async def _key(self, key_id: str | None) -> jwt.PyJWK:
        name = key_id or ""
        if self._fetch_is_due(name):
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())
        if name not in self._keys and self._fetching is not None:
            await asyncio.wait({self._fetching})
        if name in self._keys:
            return self._keys[name]
        if self._failure is not None:
            raise KeysUnavailableError(f"the keys at {self._config.jwks} cannot be fetched: {self._failure}")
        raise UnauthenticatedError(f"the token is signed with a key {key_id!r} that the issuer does not have")

    def _fetch_is_due(self, name: str) -> bool:
        if self._tls is None or (self._fetching is not None and not self._fetching.done()):
            return False
        pause_s = self._config.refresh_s if name in self._keys else _RETRY_S
        return time.monotonic() >= self._asked_at + pause_s

    async def _fetch(self) -> None:
        try:
            keys = await asyncio.to_thread(_keys_of, await self._download())
            if not keys:
                raise ValueError("the key set has no key that signs")
        except Exception as error:  # any error of connections, JSON and PyJWT
            self._failure = str(error)
            _log.warning("keys of tokens cannot be fetched, %d old ones stay: %s", len(self._keys), error)
        else:
            self._failure = None
            self._keys = keys
        self._asked_at = time.monotonic()

    async def _download(self) -> bytes:
        """The key set; does not follow redirects."""
        assert self._tls is not None
        content, timeout_s = bytearray(), self._config.fetch_timeout_s
        headers = {"accept-encoding": "identity"}  # a compressed answer could unpack to any size
        try:
            async with (
                asyncio.timeout(timeout_s),
                httpx.AsyncClient(verify=self._tls, headers=headers, timeout=None) as client,
                client.stream("GET", self._config.jwks) as response,
            ):
                response.raise_for_status()
                async for piece in response.aiter_raw():
                    content += piece
                    if len(content) > _MAX_KEY_SET_BYTES:
                        raise ValueError(f"the key set has more than {_MAX_KEY_SET_BYTES} bytes")
        except TimeoutError:
            raise ValueError(f"the key set was not there within {timeout_s:g} s") from None
        return bytes(content)


def _keys_of(content: bytes) -> dict[str, jwt.PyJWK]:
    """Signing keys of a key set by their ids."""
    keys = jwt.PyJWKSet.from_dict(parse_object(content)).keys
    return {key.key_id or "": key for key in keys if key.public_key_use in {None, "sig"}}


def _keys_of_file(path: Path) -> dict[str, jwt.PyJWK]:
    try:
        keys = _keys_of(path.read_bytes())
    except Exception as error:  # PyJWT expects an object of objects
        raise ConfigError(f"access.jwt.jwks: {path} holds no JSON Web Key Set: {error}") from error
    if not keys:
        raise ConfigError(f"access.jwt.jwks: {path} has no key that signs, only keys with another `use`")
    return keys


def _not_valid(error: Exception) -> UnauthenticatedError:
    """A refusal whose message is printable, whatever the token contains."""
    return UnauthenticatedError(f"the token is not valid: {error}".encode(errors="backslashreplace").decode())


def _names(claim: object) -> frozenset[str]:
    """The known permissions in a claim; it may name others for other services."""
    names = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else ()
    return frozenset(name for name in names if isinstance(name, str)) & _KNOWN
