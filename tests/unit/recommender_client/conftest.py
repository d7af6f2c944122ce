from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from contracts.bundle import Bundle
from recommender_client import AsyncClient, Client
from tests.fixtures.local_server import served_locally
from tests.unit.serving.gateway.conftest import PIXEL, Shop


@pytest.fixture
def shop(bundle: Bundle, tmp_path: Path) -> Shop:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "i1.png").write_bytes(PIXEL)
    return Shop(bundle, tmp_path)


@pytest.fixture
def client(shop: Shop) -> Iterator[Client]:
    """Over a socket."""
    with served_locally(shop.app) as address, Client(address, timeout_s=60) as opened:
        yield opened


@pytest.fixture
async def async_client(shop: Shop) -> AsyncIterator[AsyncClient]:
    """In this process."""
    transport = httpx.ASGITransport(app=shop.app, raise_app_exceptions=False)
    async with AsyncClient("http://shop", transport=transport) as opened:
        yield opened
