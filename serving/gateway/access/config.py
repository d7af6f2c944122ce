"""Settings of access: keys, tokens, the audit log."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from contracts.config import StrictConfig
from recommender_api.operations import Permission
from serving.gateway.access.audit import MAX_REFUSALS_PER_S

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class ApiKey(StrictConfig):
    """An API key and its permissions; only the hash of the key is kept."""

    name: str = Field(min_length=1)
    """Name of the owner, for the audit log."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    """SHA-256 of the key in hex; make keys of 32 random bytes, because a hash does not protect a guessable key."""
    permissions: tuple[Permission, ...] = Field(min_length=1)
    """Permissions of the owner."""


class JwtConfig(StrictConfig):
    """JSON Web Tokens that are accepted."""

    jwks: str = Field(min_length=1)
    """Public keys: https address of a JSON Web Key Set, or path of a file that holds one."""
    issuer: str = Field(min_length=1)
    """The `iss` that tokens must have."""
    audience: str = Field(min_length=1)
    """The `aud` that tokens must have."""
    algorithms: tuple[Algorithm, ...] = Field(default=("RS256", "ES256"), min_length=1)
    """Accepted signature algorithms."""
    permissions_claim: str = Field(default="scope", min_length=1)
    """Claim with the permissions: names in one string, separated by spaces, or a list of names."""
    leeway_s: float = Field(default=30.0, ge=0, le=300)
    """Tolerated difference of clocks in seconds."""
    refresh_s: float = Field(default=300.0, ge=10)
    """Seconds until keys are fetched again; old keys stay while a fetch fails."""
    fetch_timeout_s: float = Field(default=3.0, gt=0)
    """Longest time of a fetch of the key set; a set of more than 1 MB is not read."""

    @field_validator("jwks")
    @classmethod
    def _no_plain_http(cls, value: str) -> str:
        address = urlsplit(value)
        if address.scheme == "http" and address.hostname not in {"127.0.0.1", "localhost", "::1"}:
            raise ValueError("keys over plain http could be anybody's; give an https address or a file")
        return value


class AccessConfig(StrictConfig):
    """Who may call the API."""

    auth: Literal["none", "api_key", "jwt"] = "none"
    """`none`: everybody, for closed networks; `api_key`: owners of a key; `jwt`: bearers of a token."""
    api_keys: tuple[ApiKey, ...] = ()
    """Keys, for `auth: api_key`."""
    jwt: JwtConfig | None = None
    """Accepted tokens, for `auth: jwt`."""
    audit_file: Path | None = None
    """JSON lines of refusals, erasures and exports; unset = audit.jsonl beside `stores.records_dir`, where jobs note
    promotions. While it cannot be written, erasures and exports are refused with 503."""
    max_audited_refusals_per_s: int = Field(default=MAX_REFUSALS_PER_S, ge=1)
    """Further refusals are only counted, so that callers cannot fill the disk."""

    @model_validator(mode="after")
    def _one_way_in(self) -> AccessConfig:
        if (self.auth == "api_key") != bool(self.api_keys):
            raise ValueError(f"auth={self.auth!r} with {len(self.api_keys)} api_keys; api_keys go with auth='api_key'")
        if (self.auth == "jwt") != (self.jwt is not None):
            there = "no jwt" if self.jwt is None else "a jwt"
            raise ValueError(f"auth={self.auth!r} with {there} section; it goes with auth='jwt'")
        for field in ("name", "sha256"):
            values = [getattr(key, field) for key in self.api_keys]
            if twice := {value for value in values if values.count(value) > 1}:
                raise ValueError(f"api_keys: {field} {min(twice)!r} occurs twice")
        return self
