"""JSON Web Tokens, verified by PyJWT with the public keys of whoever signs them."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import jwt

from contracts.errors import ConfigError, KeysUnavailableError, UnauthenticatedError
from serving.gateway.access import Caller, JwtConfig

_MAX_REMEMBERED: Final = 4_096
_MAX_TOKEN_CHARS: Final = 8_192
_TRUST_S: Final = 60.0
_RETRY_S: Final = 5.0
_log = logging.getLogger(__name__)


class TokenVerifier:
    """Tells bearer and permissions of tokens.

    Signature, issuer, audience and expiry are checked once; for a minute after that, the same token costs a look-up.

    Args:
        config: whose tokens.

    Raises:
        ConfigError: the file with the keys cannot be read.
    """

    def __init__(self, config: JwtConfig) -> None:
        self._config = config
        self._client: jwt.PyJWKClient | None = None
        self._keys: dict[str, jwt.PyJWK] = {}
        self._asked_at = float("-inf")
        self._failure: str | None = None
        self._fetching = asyncio.Lock()
        self._remembered: dict[str, tuple[float, Caller]] = {}
        if urlsplit(config.jwks).scheme in {"http", "https"}:
            self._client = jwt.PyJWKClient(config.jwks, cache_jwk_set=False, timeout=config.fetch_timeout_s)
        else:
            self._keys = _keys_of_file(Path(config.jwks))

    async def __call__(self, token: str) -> Caller:
        """The bearer.

        Raises:
            UnauthenticatedError: the token is malformed, expired, or not for us.
            KeysUnavailableError: the keys cannot be fetched and none is known.
        """
        known = self._remembered.get(token)
        if known is not None and known[0] > time.time():
            return known[1]
        if len(token) > _MAX_TOKEN_CHARS:
            raise UnauthenticatedError(f"the token has {len(token)} characters, at most {_MAX_TOKEN_CHARS} are read")
        try:
            key = await self._key(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key,
                algorithms=list(self._config.algorithms),
                issuer=self._config.issuer,
                audience=self._config.audience,
                leeway=self._config.leeway_s,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise UnauthenticatedError(f"the token is not valid: {error}") from None
        found = Caller(str(claims["sub"]), _names(claims.get(self._config.permissions_claim)))
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[token] = min(time.time() + _TRUST_S, claims["exp"] + self._config.leeway_s), found
        return found

    async def _key(self, key_id: str | None) -> jwt.PyJWK:
        name = key_id or ""
        if self._fetch_is_due(name):
            async with self._fetching:
                if self._fetch_is_due(name):  # nobody has fetched them meanwhile
                    await self._fetch()
        if name in self._keys:
            return self._keys[name]
        if self._failure is not None:
            raise KeysUnavailableError(f"the keys at {self._config.jwks} cannot be had: {self._failure}")
        raise UnauthenticatedError(f"the token is signed with a key {key_id!r} that the issuer does not have")

    def _fetch_is_due(self, name: str) -> bool:
        pause_s = self._config.refresh_s if name in self._keys else _RETRY_S
        return self._client is not None and time.monotonic() >= self._asked_at + pause_s

    async def _fetch(self) -> None:
        assert self._client is not None
        try:
            keys = await asyncio.to_thread(self._client.get_signing_keys)
        except (jwt.PyJWTError, OSError, ValueError) as error:  # PyJWT lets broken JSON and connections through
            self._failure = str(error)
            _log.warning("keys of tokens cannot be fetched, %d old ones stay: %s", len(self._keys), error)
        else:
            self._failure = None
            self._keys = {key.key_id or "": key for key in keys}
        self._asked_at = time.monotonic()


def _keys_of_file(path: Path) -> dict[str, jwt.PyJWK]:
    try:
        keys = jwt.PyJWKSet.from_dict(json.loads(path.read_text(encoding="utf-8"))).keys
    except (OSError, ValueError, AttributeError, jwt.PyJWTError) as error:  # PyJWT expects an object
        raise ConfigError(f"access.jwt.jwks: {path} holds no JSON Web Key Set: {error}") from error
    return {key.key_id or "": key for key in keys}


def _names(claim: Any) -> frozenset[str]:
    if isinstance(claim, str):
        return frozenset(claim.split())
    return frozenset(name for name in claim if isinstance(name, str)) if isinstance(claim, list) else frozenset()
