"""Settings of the HAProxy in front of the gateways."""

from __future__ import annotations

from pydantic import Field

from contracts.config import StrictConfig
from serving.gateway.http.clients import OWN_PROXIES, Networks


class HAProxyConfig(StrictConfig):
    """How long clients may take, how many may connect, and who may read HAProxy's own statistics."""

    head_timeout_s: int = Field(default=5, ge=1)
    """Seconds from a request's first byte until its head and the first 16 KB of its body must be there."""
    idle_timeout_s: int = Field(default=20, ge=1)
    """Seconds that a connection may be silent: before its first request, between two, and within a body.
    Behind a load balancer, set more than its idle timeout."""
    answer_timeout_s: int = Field(default=60, ge=1)
    """Seconds until a gateway must answer."""
    connections: int = Field(default=8192, ge=100)
    """Most connections of all clients; fewer if the limit of open files does not allow them."""
    connections_per_address: int = Field(default=256, ge=1)
    """Most connections of one client address; further ones are closed at once."""
    proxies: Networks = OWN_PROXIES
    """Addresses or networks of reverse proxies and load balancers, whose connections are not counted by address."""
    stats_host: str = "127.0.0.1"
    """Address of HAProxy's statistics page and metrics; both have no access control."""
