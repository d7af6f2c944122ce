"""Promotions and roll-backs leave a line in the audit log before and after them, or do not happen."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.bundle import open_bundle, seal
from contracts.errors import AuditError, RecommenderError, RegistryError
from contracts.manifest import MANIFEST, Manifest
from contracts.registry import Registry
from ray_apps.console import EXIT_OK, EXIT_REFUSED
from ray_apps.jobs import rollback
from ray_apps.jobs.config import JobConfig
from ray_apps.jobs.workspace import Workspace
from ray_apps.promotion import Promotions, check_servable
from tests.fixtures.served_bundle import write_served_bundle
from tests.fixtures.tiny_bundle import tiny_parts
from training.bundle_parts import write_parts

CONFIG = "simulator:\n  size: debug\n"


@pytest.fixture
def var_dir(tmp_path: Path) -> Path:
    parts = tiny_parts(tmp_path / "inputs")
    for version in ("v1", "v2"):
        write_parts(parts, tmp_path / "var" / "bundles", version)
    (tmp_path / "job.yaml").write_text(CONFIG)
    return tmp_path / "var"


def lines(audit_file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in audit_file.read_text().splitlines()]


def test_who_changed_what_and_why_is_written(var_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = Registry.open(var_dir / "bundles")
    workspace = Workspace(JobConfig.model_validate({"simulator": {"size": "debug"}, "var_dir": var_dir}))
    assert workspace.audit_file == var_dir / "audit.jsonl"
    promotions = Promotions(registry, workspace.audit_file)
    promotions.promote("v1", "first")
    promotions.promote("v2", "better")
    with pytest.raises(RegistryError):
        promotions.promote("v3", "not there")
    assert rollback.main(["--config", str(var_dir.parent / "job.yaml"), f"var_dir={var_dir}"]) == EXIT_OK
    assert "v1 is in production again, instead of v2" in capsys.readouterr().out
    assert registry.production() == "v1"
    written = lines(workspace.audit_file)
    asked = "asked for on the command line"
    assert [(line["event"], line.get("previous"), line.get("version"), line["reason"]) for line in written] == [
        ("promotion_begun", None, "v1", "first"),
        ("promotion", None, "v1", "first"),
        ("promotion_begun", None, "v2", "better"),
        ("promotion", "v1", "v2", "better"),
        ("promotion_begun", None, "v3", "not there"),
        ("rollback_begun", None, None, asked),
        ("rollback", "v2", "v1", asked),
    ]
    assert {line["caller"] for line in written} == {getpass.getuser()}
    assert {line["registry"] for line in written} == {str(var_dir / "bundles")}


def test_the_audit_log_may_lie_elsewhere(tmp_path: Path) -> None:
    values = {"simulator": {"size": "debug"}, "var_dir": tmp_path / "var", "audit_file": tmp_path / "log" / "a.jsonl"}
    assert Workspace(JobConfig.model_validate(values)).audit_file == tmp_path / "log" / "a.jsonl"


def spoil_weights(folder: Path) -> None:
    (folder / "ranker/weights.safetensors").write_bytes(b"\xff" * 100)


def spoil_index(folder: Path) -> None:
    (folder / "index/faiss.index").write_bytes(b"no index")


def spoil_history(folder: Path) -> None:
    path = folder / "two_tower/config.json"
    path.write_text(path.read_text().replace('"history_length"', '"other"'))


@pytest.mark.parametrize("spoil", [spoil_weights, spoil_index, spoil_history])
def test_a_bundle_that_cannot_be_served_is_refused_before_it_is_promoted(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    folder = write_served_bundle(tmp_path, "v1").path
    check_servable(open_bundle(folder))
    spoil(folder)
    seal(folder, Manifest.model_validate_json((folder / MANIFEST).read_bytes()))
    with pytest.raises(RecommenderError):
        check_servable(open_bundle(folder))


def test_nothing_to_go_back_to_is_refused(var_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rollback.main(["--config", str(var_dir.parent / "job.yaml"), f"var_dir={var_dir}"]) == EXIT_REFUSED
    assert capsys.readouterr().err.startswith("error: ")
    assert [line["event"] for line in lines(var_dir / "audit.jsonl")] == ["rollback_begun"]


def test_nothing_is_promoted_or_rolled_back_without_a_line(var_dir: Path) -> None:
    registry = Registry.open(var_dir / "bundles")
    for version in ("v1", "v2"):
        registry.promote(version, "before")
    blocked = Promotions(registry, var_dir)  # a folder
    for change in (lambda: blocked.promote("v1", "no"), lambda: blocked.roll_back("no")):
        with pytest.raises(AuditError, match=r"the audit log .* cannot be written"):
            change()
    assert registry.production() == "v2"
