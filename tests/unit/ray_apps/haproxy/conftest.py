from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder with a short path, as a server takes one: the paths of sockets have a limit."""
    with tempfile.TemporaryDirectory(prefix="haproxy-", dir="/tmp") as path:
        yield Path(path)
