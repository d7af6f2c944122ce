from __future__ import annotations

from pathlib import Path

import pytest

from contracts.bundle import Bundle
from tests.unit.serving.gateway.conftest import Shop


@pytest.fixture
def shop(bundle: Bundle, raw_dir: Path) -> Shop:
    return Shop(bundle, raw_dir, online=True)
