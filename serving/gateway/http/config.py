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
    """Larger bodies are refused with 413; the default takes every request that the API's fields allow, so a shop with
    short ids can lower it."""
    max_held_body_mb: int = Field(default=64, ge=1)
    """Megabytes of bodies that are read or answered at once, without the first 16 KB of each; a request whose body
    would be too much is refused with 429."""
    max_browsing: int = Field(default=16, ge=1)
    """Searches, pages and similar items that may wait for one another: one thread computes them; more are refused with
    429."""
    browse_timeout_ms: float = Field(default=1_000, gt=0)
    """Longest that one of them may wait and compute; then it is refused with 503."""
    hosts: tuple[str, ...] = LOOPBACK_HOSTS
    """Names and addresses that the service is called by, each with a port or for all ports. Where `access.auth` is
    `none`, everything but the catalogue wants one of them in the Host header, so that web pages cannot call under a
    name that leads here."""
    proxies: Networks = OWN_PROXIES
    """Addresses and networks of proxies, each of which adds the address of whoever calls it at the end of
    X-Forwarded-For. From anybody else that header counts for nothing. Loopback, where the server's own HAProxy calls
    from, is always among them; name those in front of it, and the cluster's other machines."""
    cors_origins: tuple[str, ...] = ()
    """Origins of web pages that may call the API from a browser, for example https://shop.example; none by default."""
    tracing: TracingConfig = TracingConfig()
    """OpenTelemetry traces; off by default."""

    @model_validator(mode="after")
    def _a_body_can_be_held(self) -> GatewayConfig:
        if self.max_held_body_mb * 2**20 < self.max_body_bytes:
            raise ValueError(
                f"max_held_body_mb={self.max_held_body_mb} is below max_body_bytes={self.max_body_bytes}; "
                "raise the one or lower the other"
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
