"""Every job command in the documents is one that the command line takes."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from ray_apps.jobs.cli import build_parser
from ray_apps.jobs.config import load_job_config
from ray_apps.jobs.pipeline import JOBS

ROOT = Path(__file__).resolve().parents[4]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"python -m ray_apps\.jobs\.(\w+) (--config [^\n`]*)")
COMMANDS = sorted({found for path in DOCUMENTS for found in COMMAND.findall(path.read_text(encoding="utf-8"))})


@pytest.mark.parametrize(("job", "arguments"), COMMANDS, ids=lambda value: value[:60])
def test_job_commands_in_documents_are_legal(job: str, arguments: str) -> None:
    assert importlib.import_module(f"ray_apps.jobs.{job}")
    parsed = build_parser(job, "").parse_intermixed_args(arguments.split())
    load_job_config(ROOT / parsed.config, parsed.overrides)


def test_the_guide_shows_every_job() -> None:
    guide = (ROOT / "docs" / "guides" / "jobs.md").read_text(encoding="utf-8")
    assert COMMANDS
    assert [job.name for job in JOBS] == re.findall(r"^\| `(\w+)` \|", guide, flags=re.MULTILINE)[: len(JOBS)]
