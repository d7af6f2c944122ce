"""The client as a distribution of its own: light in an empty environment, and no harm beside the product."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from contracts.bundle import Bundle
from tests.fixtures.local_server import served_locally
from tests.unit.serving.gateway.conftest import Shop

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
from recommender_client import Client, RecommendationRequest
with Client({address!r}) as client:
    print(len(client.recommend(RecommendationRequest(user_id="u1", k=3)).recommendations))
"""
pytestmark = pytest.mark.slow


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of what a checkout holds: builds leave things behind."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    listed = subprocess.run(["git", "ls-files", "-z", "*.py", "*/py.typed"], cwd=ROOT, capture_output=True, check=True)
    others = [
        "pyproject.toml",
        "recommender_client/pyproject.toml",
        "recommender_client/setup.cfg",
        "README.md",
        "LICENSE",
    ]
    for name in [*listed.stdout.decode().split("\0")[:-1], *others]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_empty_environment_gets_the_client_and_nothing_heavy(sources: Path, bundle: Bundle, tmp_path: Path) -> None:
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "./recommender_client", cwd=sources)
    listed = json.loads(run(python, "-m", "pip", "list", "--format", "json", cwd=tmp_path))
    installed = {one["name"].lower() for one in listed}
    assert {"recommender-client", "httpx", "msgspec"} <= installed
    assert not {"ray", "torch", "feast", "numpy", "pydantic", "starlette"} & installed
    (tmp_path / "raw").mkdir()
    with served_locally(Shop(bundle, tmp_path / "raw").app) as address:
        assert run(python, "-c", PROGRAM.format(address=address), cwd=tmp_path).strip() == "3"


def test_beside_the_product_it_brings_the_same_files(sources: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    contents = []
    for name in (".", "./recommender_client"):
        wheels = tmp_path / f"wheels-{len(contents)}"
        run(*build, wheels, name, cwd=sources)
        (wheel,) = wheels.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            files = [file for file in archive.namelist() if ".dist-info/" not in file]
            contents.append({file: archive.read(file) for file in files})
    product, client = contents
    assert {file.split("/")[0] for file in client} == {"recommender_client", "recommender_api"}
    assert client.items() <= product.items()
