"""Access control: permissions of operations, API keys and tokens; not used with `auth: none`."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Protocol

from starlette.types import Scope

from contracts.errors import ForbiddenError, UnauthenticatedError
from recommender_api.operations import OPEN, Needed
from serving.gateway.access.audit import AuditLog
from serving.gateway.access.caller import Caller
from serving.gateway.access.config import AccessConfig, ApiKey
from serving.gateway.wire import header


class Authenticator(Protocol):
    """Identifies callers."""

    async def __call__(self, credential: str, /) -> Caller:
        """The owner of a credential.

        Raises:
            UnauthenticatedError: the credential is not valid.
        """
        ...


class KeyAuthenticator:
    """Identifies callers by their API key."""

    def __init__(self, keys: tuple[ApiKey, ...]) -> None:
        self._owners = [(bytes.fromhex(key.sha256), Caller(key.name, frozenset(key.permissions))) for key in keys]

    async def __call__(self, credential: str, /) -> Caller:
        """Compares with all keys, in the same time for each of them."""
        digest = hashlib.sha256(credential.encode()).digest()
        found = [caller for expected, caller in self._owners if hmac.compare_digest(expected, digest)]
        if not found:
            raise UnauthenticatedError("the API key is not known; check it, or ask for one")
        return found[0]


class Access:
    """Checks the permissions of callers.

    Args:
        authenticate: identifies callers.
        audit: logs refusals.
        address: finds the client address of a call, for the audit log.
    """

    def __init__(self, authenticate: Authenticator, audit: AuditLog, address: Callable[[Scope], str]) -> None:
        self._authenticate = authenticate
        self._address = address
        self._audit = audit

    @classmethod
    def open(cls, config: AccessConfig, audit: AuditLog, address: Callable[[Scope], str]) -> Access | None:
        """The configured access control; None if everybody may call everything.

        Raises:
            ConfigError: the file with the keys that sign tokens cannot be read.
        """
        if config.jwt is not None:
            from serving.gateway.access.tokens import TokenVerifier  # imports large libraries

            return cls(TokenVerifier(config.jwt), audit, address)
        return cls(KeyAuthenticator(config.api_keys), audit, address) if config.api_keys else None

    async def check(self, scope: Scope, path: str, needed: Needed, request_id: str) -> Caller | None:
        """The caller; None for an operation that is open to everybody.

        Args:
            scope: of the call.
            path: still percent-encoded.
            needed: the permission that the operation needs.
            request_id: for the audit log.

        Raises:
            UnauthenticatedError: no credential, or one that is not valid.
            ForbiddenError: the caller lacks the permission.
            KeysUnavailableError: the keys of tokens cannot be fetched.
        """
        if needed == OPEN:
            return None
        caller = None
        try:
            caller = await self._authenticate(_credential(scope))
            if needed not in caller.permissions:
                raise ForbiddenError(
                    f"{scope['method']} {path} needs the permission {needed!r}, {caller.name!r} has "
                    f"{', '.join(sorted(caller.permissions)) or 'none'}",
                    needed=needed,
                )
        except (UnauthenticatedError, ForbiddenError) as error:
            await self._audit.refusal(
                request_id=request_id,
                caller=caller.name if caller else None,
                code=error.code,
                reason=error.message,
                method=scope["method"],
                path=path,
                client=self._address(scope),
            )
            raise
        return caller


def _credential(scope: Scope) -> str:
    sent = header(scope, b"authorization")
    if sent is not None:
        scheme, _, credential = sent.decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not credential:
            raise UnauthenticatedError("the Authorization header is not of the form 'Bearer <key or token>'")
        return credential.strip()
    key = header(scope, b"x-api-key")
    if key is None:
        raise UnauthenticatedError("no credential; send the header 'Authorization: Bearer <key or token>'")
    return key.decode("latin-1")
