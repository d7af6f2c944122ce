"""A server that is stopped has written the log line of every request that it answered."""

from __future__ import annotations

import signal
import urllib.request
from pathlib import Path

import pytest

from tests.fixtures.running_shop import running_shop

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(600)]


def test_requests_just_before_sigterm_are_in_the_log(tmp_path: Path) -> None:
    with running_shop(tmp_path / "var", "fused", stops=False) as shop:
        (session,) = Path("/tmp/ray").glob(f"session_*_{shop.program.process.pid}")
        call = urllib.request.Request(f"{shop.url}/v1/status", headers={"X-Request-Id": "the-last"})
        with urllib.request.urlopen(call, timeout=30) as answer:
            assert answer.status == 200
        shop.program.process.send_signal(signal.SIGTERM)
        assert shop.program.finish() == 0
    logs = [path.read_text(encoding="utf-8") for path in (session / "logs" / "serve").glob("replica_*")]
    assert [text for text in logs if '"request_id":"the-last.' in text]
