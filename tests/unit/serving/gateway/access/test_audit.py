"""The audit log: whole lines or a refusal, from many processes, and never more than so many."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.bundle import Bundle
from contracts.errors import AuditError
from serving.config import ServingConfig
from serving.gateway.access.audit import AuditLog
from tests.unit.serving.gateway.conftest import Shop


@pytest.fixture
def audit_file(tmp_path: Path) -> Path:
    return tmp_path / "audit" / "audit.jsonl"


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


async def test_a_flood_of_refusals_is_counted_not_written(audit_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    audit = AuditLog(audit_file, max_refusals_per_s=2)
    for _ in range(10):
        await audit.refusal(code="unauthenticated", path="x" * 9_999)
    audit.event("erasure", caller="office", user_id="u1")
    now = 1_001.0
    await audit.refusal(code="unauthenticated")
    lines = lines_of(audit_file)
    assert [line["event"] for line in lines] == ["refusal", "refusal", "erasure", "refusal"]
    assert [line.get("left_out_before") for line in lines] == [0, 0, None, 8]
    assert max(len(line) for line in audit_file.read_text().splitlines()) < 500


def test_by_default_it_lies_beside_the_records() -> None:
    config = ServingConfig.model_validate({"stores": {"records_dir": "/srv/shop/records"}})
    assert config.audit_file == Path("/srv/shop/audit.jsonl")
    named = ServingConfig.model_validate({"access": {"audit_file": "/var/log/a.jsonl"}})
    assert named.audit_file == Path("/var/log/a.jsonl")


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a device", "a folder that is a file"])
def test_an_event_that_cannot_be_noted_is_an_error_of_its_own(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "audit.jsonl"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        import os

        os.mkfifo(path)
    elif kind == "a device":
        path = Path("/dev/full")
    else:
        path.write_text("")
        path /= "audit.jsonl"
    with pytest.raises(AuditError, match=r"the audit log .* cannot be written: .*; free disk space"):
        AuditLog(path).event("erase", user_id="u1")


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/v1/users/u1"), ("DELETE", "/v1/users/u1/seen"), ("GET", "/v1/users/u1/data")],
)
async def test_nothing_is_erased_or_told_without_a_line(
    bundle: Bundle, raw_dir: Path, audit_file: Path, method: str, path: str
) -> None:
    audit_file.mkdir(parents=True)
    shop = Shop(bundle, raw_dir, online=True, access={"audit_file": str(audit_file)})
    await shop.redis.set("untouched", "1")
    transport = httpx.ASGITransport(app=shop.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        response = await client.request(method, path)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "audit_unavailable")
    assert await shop.redis.keys("*") == [b"untouched"]
