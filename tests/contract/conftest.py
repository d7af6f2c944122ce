from __future__ import annotations

import pytest

from contracts.bundle import Bundle
from tests.fixtures.served_bundle import write_served_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny bundle with untrained models."""
    return write_served_bundle(tmp_path_factory.mktemp("served"))
