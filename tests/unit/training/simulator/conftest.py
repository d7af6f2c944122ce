"""Shops that several tests look at."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from training.simulator import SimulatorConfig, simulate

START = date(2026, 3, 2)


@pytest.fixture(scope="session")
def debug_config() -> SimulatorConfig:
    return SimulatorConfig(size="debug", seed=3, start_date=START, num_events=8_000)


@pytest.fixture(scope="session")
def debug_raw(debug_config: SimulatorConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("shop") / "raw"
    simulate(debug_config, raw)
    return raw
