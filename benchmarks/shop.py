"""The shop that serving is measured on: its bundle, its stores and its visitors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.dataset as ds
import torch

from benchmarks.load import http_request
from benchmarks.ten_columns import SETTINGS
from benchmarks.training import REFERENCE_DLRM
from contracts import columns as c
from contracts.bundle import Bundle, open_bundle, seal
from contracts.clock import DAY_S, name_to_day
from contracts.config import merge
from contracts.errors import BundleError
from contracts.manifest import MANIFEST, MANIFEST_DIGEST
from contracts.registry import Registry
from ray_apps.recommender import with_shop
from recommender_api.operations import RECOMMEND
from serving.config import ServingConfig
from serving.stores.config import EmbeddedRedisConfig
from serving.stores.embedded import EmbeddedRedis
from serving.stores.keys import VERSION as KEYS_VERSION
from training.models.inputs import ItemTensors
from training.models.loading import build_model, load_ranker, load_two_tower, save_model
from training.models.schema import ModelSchema

ROOT: Final = Path(__file__).parents[1]
START_DATE: Final = "2026-11-07"
"""First day of the simulated shop; the clock is fixed after its last day, so that a bundle stays usable."""
K: Final = 10
_NOON_S: Final = DAY_S // 2


@dataclass(frozen=True)
class Shop:
    """The shop that all systems serve.

    Attributes:
        bundle: an opened bundle.
        config: settings of serving, with the address of the running stores.
        asked: JSON objects of requests, by visitors drawn from the shop's interactions.
    """

    bundle: Bundle
    config: ServingConfig
    asked: Sequence[dict[str, Any]]

    @property
    def values(self) -> dict[str, Any]:
        """The settings as plain values: only what differs from the defaults."""
        return self.config.model_dump(mode="json", exclude_unset=True)

    def serving(self, bundle: Bundle) -> dict[str, Any]:
        """The settings for another bundle of the same folder."""
        return merge(self.values, {"bundle": bundle.version})

    def http_requests(self) -> list[bytes]:
        """HTTP requests for systems with our API."""
        return [http_request(RECOMMEND.path, json.dumps(body).encode()) for body in self.asked]


@contextmanager
def open_shop(
    *, quick: bool, num_requests: int, seed: int = 0, scratch: bool = False, ten_columns: bool = False
) -> Iterator[Shop]:
    """Builds the shop if it is missing, starts its stores, and stops them at the end.

    Args:
        quick: the debug shop instead of the demo's.
        num_requests: visitors to draw.
        seed: of the draw.
        scratch: whether to copy stores and records, for a benchmark that writes to them.
        ten_columns: whether the shop declares the ten columns of `benchmarks.ten_columns`.
    """
    size = "debug" if quick else "demo"
    var_dir = ROOT / "var" / "benchmarks" / (f"{size}-ten-columns" if ten_columns else size)
    registry = Registry.open(var_dir / "bundles")
    if not _is_usable(registry, var_dir):
        config_file = ROOT / "configs" / "jobs" / f"{size}.yaml"
        overrides = [f"var_dir={var_dir}", f"simulator.start_date={START_DATE}", *(SETTINGS if ten_columns else ())]
        command = [sys.executable, "-m", "ray_apps.jobs.pipeline", "--config", str(config_file), *overrides]
        subprocess.run(command, cwd=ROOT, check=True)
        _stores_mark(var_dir).touch()
    version = registry.production()
    assert version is not None
    bundle = open_bundle(var_dir / "bundles" / version)
    data_dir, records_dir = var_dir / "redis", var_dir / "records"
    if scratch:
        shutil.rmtree(var_dir / "scratch", ignore_errors=True)
        data_dir = Path(shutil.copytree(data_dir, var_dir / "scratch" / "redis"))
        records_dir = var_dir / "scratch" / "records"
    with EmbeddedRedis(EmbeddedRedisConfig(data_dir=data_dir)) as stores:
        values = {
            "registry": str(var_dir / "bundles"),
            "bundle": version,
            "simulated_now": _after_last_day(bundle),
            "stores": {
                "address": stores.address,
                "feast_dir": str(var_dir / "feast"),
                "records_dir": str(records_dir),
            },
        }
        config = with_shop(ServingConfig.model_validate(values), bundle.manifest.shop)
        yield Shop(bundle, config, draw_visitors(Path(bundle.manifest.raw_dir), num_requests, seed))


def _is_usable(registry: Registry, var_dir: Path) -> bool:
    """Whether the stores exist, and a bundle whose models this code can open."""
    version = registry.production()
    if version is None or not _stores_mark(var_dir).is_file():
        return False
    return _opens(var_dir / "bundles" / version)


def _stores_mark(var_dir: Path) -> Path:
    """A file that exists after the stores were filled with keys of this version."""
    return var_dir / f"stores-{KEYS_VERSION}"


def _opens(folder: Path) -> bool:
    """Whether this code can open the models of a bundle."""
    try:
        bundle = open_bundle(folder)
        load_two_tower(bundle)
        load_ranker(bundle)
    except BundleError:
        return False
    return True


def with_reference_ranker(bundle: Bundle) -> Bundle:
    """The bundle with an untrained ranker of the reference's shape: its time counts, its scores mean nothing.

    Written beside the bundle, unless it exists and can be opened.
    """
    version = f"{bundle.version}-reference"
    folder = bundle.path.with_name(version)
    if not _opens(folder):
        shutil.rmtree(folder, ignore_errors=True)
        temporary = folder.with_name(f".{version}")
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(bundle.path, temporary, copy_function=os.link)
        for part in (temporary / "ranker").iterdir():
            part.unlink()
        for name in (MANIFEST, MANIFEST_DIGEST):
            (temporary / name).unlink()
        torch.manual_seed(0)
        schema = ModelSchema.of(bundle.transforms, bundle.items)
        items = ItemTensors(bundle.items, bundle.array("ranker/encoded_id"))
        config = REFERENCE_DLRM.model_dump(mode="json")
        save_model("dlrm", build_model("dlrm", config, schema, items), temporary / "ranker")
        changed = {"version": version, "reads_popularity": REFERENCE_DLRM.popularity}
        seal(temporary, bundle.manifest.model_copy(update=changed))
        temporary.rename(folder)
    return open_bundle(folder)


def draw_visitors(raw_dir: Path, count: int, seed: int) -> list[dict[str, Any]]:
    """Requests of visitors drawn by their activity, with their device: active visitors occur more often."""
    columns = [c.USER_ID, c.SESSION_ID, c.DEVICE_TYPE]
    table = ds.dataset(raw_dir / "interactions", format="parquet", partitioning="hive").to_table(columns=columns)
    rows = np.random.default_rng(seed).integers(0, len(table), count)
    visitors = table.take(rows).to_pylist()
    return [{name: value for name, value in visitor.items() if value is not None} | {"k": K} for visitor in visitors]


def _after_last_day(bundle: Bundle) -> int:
    """Noon of the shop-local day after the last one of the data, Unix seconds."""
    return bundle.transforms.calendar.start_of_day(name_to_day(bundle.manifest.last_day) + 1) + _NOON_S
