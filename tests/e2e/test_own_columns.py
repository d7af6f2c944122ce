"""The shop of the guide: brands, tags, style vectors and visitors from several countries, by its config alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.bundle import open_bundle
from contracts.clock import DAY_S, day_to_name
from contracts.registry import Registry
from ray_apps.ports import free_port
from tests.e2e.programs import FIRST_PORT, ROOT, get, post, processes_of, running

pytestmark = [pytest.mark.ray, pytest.mark.slow]
NUM_USERS, NUM_ITEMS, NUM_EVENTS, NUM_DAYS = 60, 80, 4_000, 6
FIRST_DAY = 20_600
COUNTRIES, TAGS = ("de", "fr", "it"), ("new", "red", "sale")
SETTINGS = "shop=mine two_tower.epochs=1 ranker.epochs=1 embed.text.pool_size=1"


def write(folder: Path, columns: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "part-0.parquet")


@pytest.fixture(scope="module")
def raw_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only item 0 has the brand `rare`; the first day's interactions do not tell the country."""
    folder, rng = tmp_path_factory.mktemp("shop") / "tables", np.random.default_rng(0)
    write(folder / "users", {"user_id": [f"customer-{n}" for n in range(NUM_USERS)]})
    items = {
        "item_id": [f"sku-{n}" for n in range(NUM_ITEMS)],
        "title": [f"Thing {n % 7}" for n in range(NUM_ITEMS)],
        "price": [float(n + 1) for n in range(NUM_ITEMS)],
        "brand": ["rare", *(f"brand-{n % 9}" for n in range(1, NUM_ITEMS))],
        "tags": [[tag for place, tag in enumerate(TAGS) if n % (place + 2) == 0] for n in range(NUM_ITEMS)],
        "style": pa.array(list(rng.normal(size=(NUM_ITEMS, 16))), pa.list_(pa.float32())),
    }
    write(folder / "items", items)
    popularity = 1 / np.arange(1, NUM_ITEMS + 1)
    for day in range(FIRST_DAY, FIRST_DAY + NUM_DAYS):
        size = NUM_EVENTS // NUM_DAYS
        events: dict[str, object] = {
            "user_id": [f"customer-{n}" for n in rng.integers(NUM_USERS, size=size)],
            "item_id": [f"sku-{n}" for n in rng.choice(NUM_ITEMS, size=size, p=popularity / popularity.sum())],
            "timestamp": np.sort(rng.integers(day * DAY_S, (day + 1) * DAY_S, size=size)),
        }
        country = {} if day == FIRST_DAY else {"country": rng.choice(COUNTRIES, size)}
        write(folder / "interactions" / f"day={day_to_name(day)}", events | country)
    return folder


@pytest.fixture(scope="module")
def var_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own") / "var"


@pytest.fixture(scope="module")
def finished(raw_dir: Path, var_dir: Path) -> str:
    config = ROOT / "configs" / "jobs" / "own_columns.yaml"
    arguments = ["--config", str(config), f"raw_dir={raw_dir}", f"var_dir={var_dir}", *SETTINGS.split()]
    with running("ray_apps.jobs.pipeline", *arguments) as program:
        assert program.finish() == 0, program.output
    return program.output


@pytest.fixture(scope="module")
def url(finished: str, var_dir: Path) -> Iterator[str]:
    port = free_port(FIRST_PORT)
    with running("ray_apps.serve", "--placement", "fused", "--port", str(port), "--var", str(var_dir)) as server:
        server.read_until("READY ")
        yield f"http://127.0.0.1:{port}"
        assert server.interrupt() == 0, server.output
    assert processes_of(var_dir) == []


def refused(url: str, body: dict[str, Any]) -> str:
    with pytest.raises(HTTPError) as error:
        post(f"{url}/v1/recommendations", body)
    assert error.value.code == 422
    return str(json.loads(error.value.read())["error"]["message"])


def test_the_job_tells_what_it_made_of_them(finished: str, var_dir: Path) -> None:
    assert "1 occurrences of categories of brand got no id of their own" in finished
    assert "1 of 6" in next(line for line in finished.splitlines() if "country" in line and "WARNING" in line)
    bundle = open_bundle(var_dir / "bundles" / str(Registry.open(var_dir / "bundles").production()))
    assert {"brand", "tags", "style", "country"} <= {feature.name for feature in bundle.schema.features}
    features = bundle.json("reference_stats.json")["features"]
    assert {"brand", "tags", "style", "country"} <= set(features)


def test_requests_say_where_they_come_from_and_what_they_want(url: str) -> None:
    body = {"user_id": "customer-1", "context": {"country": "de"}, "k": 5}
    answer = post(f"{url}/v1/recommendations", body)
    assert (answer["degraded"], len(answer["recommendations"])) == ([], 5)
    assert all(item["attributes"]["brand"] for item in answer["recommendations"])
    filters = {"tags": ["sale"], "price": {"min": 10, "max": 40}}
    found = post(f"{url}/v1/recommendations", {**body, "filters": filters})["recommendations"]
    assert found
    assert all("sale" in item["attributes"]["tags"] and 10 <= item["price"] <= 40 for item in found)


def test_a_brand_without_an_id_can_be_asked_for(url: str) -> None:
    body = {"user_id": "customer-1", "filters": {"brand": ["rare"]}}
    (item,) = post(f"{url}/v1/recommendations", body)["recommendations"]
    assert (item["item_id"], item["attributes"]["brand"]) == ("sku-0", "rare")


def test_what_cannot_be_meant_is_refused_with_what_can(url: str) -> None:
    assert refused(url, {"context": {"land": "de"}}).endswith("legal fields: country")
    assert "$.context.country" in refused(url, {"context": {"country": [1]}})
    message = refused(url, {"filters": {"style": ["x"]}})
    assert message.endswith("max_price, price, brand, tags")
    assert "legal values: brand-0" in refused(url, {"filters": {"brand": ["nobody's"]}})


def test_the_api_describes_them(url: str) -> None:
    schemas = get(f"{url}/openapi.json")["components"]["schemas"]
    assert list(schemas["Context"]["properties"]) == ["country"]
    assert {"brand", "tags", "price"} <= set(schemas["Filters"]["properties"])


def test_events_take_them_along(url: str) -> None:
    event = {"user_id": "customer-1", "item_id": "sku-3", "event": "click", "context": {"country": "fr"}}
    assert post(f"{url}/v1/interactions", event)["accepted"] == 1
