"""The API guide: its programs run, its settings load, its metrics exist."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

import recommender_client
from contracts.config import validate
from recommender_api.operations import Permission
from serving.config import ServingConfig
from tests.conftest import need_program
from tests.fixtures.guides import blocks, curl_calls, read_guide
from tests.fixtures.local_server import served_locally
from tests.fixtures.served_bundle import write_served_bundle
from tests.unit.serving.gateway.conftest import Shop

GUIDE = "docs/guides/api.md"
TEXT = read_guide("api.md")


@pytest.fixture
def address(shop: Shop) -> Iterator[str]:
    with served_locally(shop.app) as address:
        yield address


@pytest.fixture
def shop_with_brands(tmp_path: Path, raw_dir: Path) -> Iterator[str]:
    with served_locally(Shop(write_served_bundle(tmp_path, brands=True), raw_dir).app) as address:
        yield address


def output(program: str, address: str, capsys: pytest.CaptureFixture[str]) -> str:
    exec(compile(program.replace("http://localhost:8000", address), GUIDE, "exec"), {})
    return capsys.readouterr().out


PROGRAMS = [program for program in blocks(TEXT, "python") if "context=" not in program]
WITH_DECLARED_COLUMNS = [program for program in blocks(TEXT, "python") if "context=" in program]


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_programs_run(address: str, program: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert output(program, address, capsys).strip()


def test_the_program_with_declared_columns_runs(shop_with_brands: str, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = WITH_DECLARED_COLUMNS
    lines = output(program, shop_with_brands, capsys).splitlines()
    assert len(lines) == 3
    assert all("'brand': 'acme'" in line for line in lines)


def curl(call: list[str], address: str) -> Any:
    arguments = [one.replace("localhost:8000", address) for one in call]
    return json.loads(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)


def test_the_calls_answer(address: str) -> None:
    need_program("curl")
    ask, tell = curl_calls(TEXT)
    answer = curl(ask, address)
    assert (answer["request_id"].split(".")[0], len(answer["recommendations"])) == ("visit-17", 3)
    assert curl(tell, address) == {"accepted": 2, "duplicates": 0, "refused": []}


def test_a_key_is_made_with_its_hash() -> None:
    (command,) = [line for line in "".join(blocks(TEXT, "bash")).splitlines() if line.startswith("python3")]
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True)
    key, hashed = done.stdout.split()
    assert len(key) >= 43
    assert re.fullmatch("[0-9a-f]{64}", hashed)


@pytest.mark.parametrize("settings", blocks(TEXT, "yaml"), ids=range(len(blocks(TEXT, "yaml"))))
def test_settings_load(settings: str) -> None:
    validate(ServingConfig, yaml.safe_load(settings), source=GUIDE)


def test_every_permission_and_error_is_told() -> None:
    for permission in get_args(Permission):
        assert f"| `{permission}` |" in TEXT
    for name in recommender_client.__all__:
        if name.endswith("Error") and name != "ApiError":
            assert f"`{name}`" in TEXT


def test_the_metric_table_is_fresh() -> None:
    generate = importlib.import_module("docs.generate")
    assert generate.rendered_api() == TEXT, "docs/guides/api.md is stale: run `make docs`"
