from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.fixtures.served_apps import PLACEMENTS, ServedApps, served_apps


@pytest.fixture(scope="session")
def served(local_ray: None) -> ServedApps:
    """Every placement, running."""
    return served_apps()


@pytest.fixture(params=PLACEMENTS)
def shop(served: ServedApps, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A client of one placement."""
    with httpx.Client(base_url=f"{served.url}/{request.param}", timeout=60) as client:
        yield client
