"""Settings of the HTTP side."""

from __future__ import annotations

import re

from pydantic import Field, field_validator, model_validator

from contracts.config import StrictConfig
from recommender_api.requests import MAX_BODY_BYTES
from serving.gateway.access.pages import LOOPBACK_HOSTS, split_host
from serving.gateway.http.clients import OWN_PROXIES, Networks
from serving.gateway.watch.config import TracingConfig


class GatewayConfig(StrictConfig):
    """Limits of the HTTP side."""

    max_body_bytes: int = Field(default=MAX_BODY_BYTES, ge=1_024)
    """Larger bodies are refused with 413. The default fits every request that the API's fields allow; shops with short
    ids can lower it."""
    max_held_body_mb: int = Field(default=64, ge=1)
    """Most megabytes of bodies in memory, without the first 16 KB of each; further requests are refused with 429."""
    max_browsing: int = Field(default=16, ge=1)
    """Most catalogue queries (pages, searches, similar items) that wait or run in their one thread; more are refused
    with 429."""
    browse_timeout_ms: float = Field(default=1_000, gt=0)
    """Longest time for a catalogue query to wait and run; then it is refused with 503."""
    hosts: tuple[str, ...] = LOOPBACK_HOSTS
    """Names and addresses of the service, with a port or for all ports. With `access.auth: none`, everything except the
    catalogue requires one of them in the Host header, so that web pages cannot call under another name that leads
    here."""
    proxies: Networks = OWN_PROXIES
    """Addresses and networks of proxies, which append the address of their client to X-Forwarded-For; from others that
    header is ignored. Loopback, which the server's own HAProxy uses, is always included. Add the proxies in front of
    it, and the other machines of the cluster."""
    cors_origins: tuple[str, ...] = ()
    """Origins of web pages that may call the API from a browser, for example https://shop.example; none by default."""
    tracing: TracingConfig = TracingConfig()
    """OpenTelemetry traces; off by default."""

    @model_validator(mode="after")
    def _a_body_can_be_held(self) -> GatewayConfig:
        if self.max_held_body_mb * 2**20 < self.max_body_bytes:
            raise ValueError(
                f"max_held_body_mb={self.max_held_body_mb} is below max_body_bytes={self.max_body_bytes}; "
                "raise max_held_body_mb or lower max_body_bytes"
            )
        return self

    @field_validator("hosts")
    @classmethod
    def _hosts_are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if host.count(":") < 2 and split_host(host) is None:
                raise ValueError(f"{host!r} is no host; expected a name or an address, such as shop.internal:8000")
        return value

    @field_validator("proxies")
    @classmethod
    def _own_ones_stay(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*OWN_PROXIES, *value)))

    @field_validator("cors_origins")
    @classmethod
    def _no_wildcard(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not re.fullmatch(r"https?://[^/*]+", origin):
                raise ValueError(f"{origin!r} is no origin; expected scheme and host, such as https://shop.example")
        return value
