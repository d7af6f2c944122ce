"""Settings of the HAProxy in front of the gateways."""

from __future__ import annotations

from pydantic import Field

from contracts.config import StrictConfig
from serving.gateway.http.clients import OWN_PROXIES, Networks


class HAProxyConfig(StrictConfig):
    """How long clients may take, how many may connect, and who may read HAProxy's own statistics."""

    head_timeout_s: int = Field(default=5, ge=1)
    """Seconds that a client has for the head of a request and the first 16 KB of its body, from its first byte on."""
    idle_timeout_s: int = Field(default=20, ge=1)
    """Seconds that a connection may be silent: before its first request, between two, and in the middle of a body.
    Behind a load balancer, set more than its own idle timeout."""
    answer_timeout_s: int = Field(default=60, ge=1)
    """Seconds that a gateway has to answer."""
    connections: int = Field(default=8192, ge=100)
    """Connections of all clients together; fewer where the machine's limit of open files allows no more."""
    connections_per_address: int = Field(default=256, ge=1)
    """Connections of one client address; further ones are closed unread."""
    proxies: Networks = OWN_PROXIES
    """Addresses or networks of reverse proxies and load balancers, whose connections are not counted by address."""
    stats_host: str = "127.0.0.1"
    """Where HAProxy's statistics page and metrics can be read; both have no access control."""
