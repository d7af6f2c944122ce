"""The locked environment is the one that the project asks for, and every file of it is known by its hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
ENTRIES = LOCK.replace("\\\n", " ").splitlines()
PINNED = {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", LOCK, re.M)}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OWN = PROJECT["name"]


def wanted(extra: str | None = None) -> list[Requirement]:
    """What the project, or one of its extras and those that it names, asks for."""
    texts = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    found = [Requirement(text) for text in texts]
    nested = [more for one in found if one.name == OWN for name in sorted(one.extras) for more in wanted(name)]
    return [one for one in found if one.name != OWN] + nested


@pytest.mark.parametrize("requirement", [*wanted(), *wanted("dev")], ids=str)
def test_the_lock_has_what_the_project_asks_for(requirement: Requirement) -> None:
    assert requirement.specifier.contains(PINNED[canonicalize_name(requirement.name)])


def test_every_entry_is_pinned_with_hashes_and_names_no_place() -> None:
    assert len(PINNED) > 200
    for entry in ENTRIES:
        assert re.fullmatch(r"[\w.-]+==\S+( ; [^\\]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", entry), entry[:100]
