"""The guide to your own tables: its columns are those of the config file, and its shop takes its requests."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml

from ray_apps.jobs.config import load_job_config
from recommender_api.operations import RANK, RECOMMEND, RECORD
from serving.gateway.shop.types import shop_types
from tests.fixtures.guides import blocks, curl_calls, read_guide

CONFIG = Path(__file__).parents[4] / "configs" / "jobs" / "own_columns.yaml"
GUIDE = read_guide("own_tables.md")
CALLS = curl_calls(GUIDE)


def test_the_guide_shows_the_config_file() -> None:
    (shown,) = blocks(GUIDE, "yaml")
    assert yaml.safe_load(shown) == yaml.safe_load(CONFIG.read_text(encoding="utf-8"))


@pytest.mark.parametrize("call", CALLS, ids=range(len(CALLS)))
def test_the_shop_takes_the_requests(call: list[str]) -> None:
    types = shop_types(load_job_config(CONFIG, []).features.to_schema())
    taken = {RECOMMEND.path: types.recommendation, RANK.path: types.ranking, RECORD.path: types.events}
    (address,) = [one for one in call if one.startswith("localhost")]
    body = call[call.index("-d") + 1]
    assert "context" in body
    msgspec.json.decode(body, type=taken[urlsplit(f"http://{address}").path])


def test_there_are_requests() -> None:
    assert CALLS
