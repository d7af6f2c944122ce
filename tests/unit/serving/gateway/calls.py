"""Calls of a gateway without a server, and settings that ask for keys and tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import httpx

from tests.unit.serving.gateway.conftest import Shop

PATH = "/v1/recommendations"
ISSUER, AUDIENCE = "https://issuer.example", "recommender"
KEYS = [
    {"name": name, "sha256": hashlib.sha256(f"{name}-key".encode()).hexdigest(), "permissions": permissions}
    for name, permissions in (("shop", ["recommend", "write_events"]), ("office", ["personal_data"]))
]
"""Of a shop, `shop-key`, and of its office, `office-key`."""


async def call(shop: Shop, method: str, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    transport = httpx.ASGITransport(app=shop.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        return await client.request(method, path, headers=headers, json={} if method == "POST" else None)


def code_of(response: httpx.Response) -> str:
    return str(response.json()["error"]["code"])


def jwt_access(jwks: str, **changed: Any) -> dict[str, Any]:
    return {"auth": "jwt", "jwt": {"jwks": jwks, "issuer": ISSUER, "audience": AUDIENCE, **changed}}
