"""Warnings about what fails again and again."""

from __future__ import annotations

import logging

import pytest

from contracts.errors import StoreError
from serving.watching.rate_limited import RateLimitedLogger


def test_warnings_are_rate_limited(caplog: pytest.LogCaptureFixture) -> None:
    limited = RateLimitedLogger(logging.getLogger("test"))
    with caplog.at_level(logging.WARNING, logger="test"):
        for _ in range(5):
            limited.warning("ranking", StoreError("down"))
        limited.warning("retrieval", StoreError("down"))
    assert [record.getMessage() for record in caplog.records] == [
        "ranking replaced or left out (0 more times since the last line): StoreError('down')",
        "retrieval replaced or left out (0 more times since the last line): StoreError('down')",
    ]
