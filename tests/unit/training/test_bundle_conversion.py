"""Bundles of layout 1 are carried over: nothing is trained again, and what is damaged is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from contracts.bundle import file_entry, open_bundle
from contracts.columns import EVENTS
from contracts.errors import BundleError
from contracts.history import HistoryReach
from contracts.manifest import MANIFEST, MANIFEST_DIGEST
from contracts.presets import SHOP
from tests.fixtures.served_bundle import RECORDED
from tests.unit.training.test_bundles_from_outside import write_manifest
from training.bundle_conversion import convert_bundle
from training.models.dlrm import DLRM, DLRMConfig
from training.models.inputs import ItemTensors
from training.models.loading import load_weights
from training.models.schema import ModelSchema


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RECORDED, tmp_path / "old" / "tiny-1"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes the manifest after it was told of the files as they are now."""
    values = json.loads((folder / MANIFEST).read_text())
    values["files"] = {name: file_entry(folder / name).model_dump() for name in values["files"]}
    change(values)
    write_manifest(folder, json.dumps(values).encode())


def test_a_converted_bundle_opens_and_says_what_the_old_one_said(source: Path, tmp_path: Path) -> None:
    sealed = convert_bundle(source, tmp_path / "new" / "tiny-1")
    bundle = open_bundle(tmp_path / "new" / "tiny-1")
    manifest, old = bundle.manifest, json.loads((source / MANIFEST).read_text())
    assert manifest == sealed
    for name in ("version", "shop", "created", "parent", "raw_dir", "timezone", "first_day", "last_day", "num_items"):
        assert getattr(manifest, name) == old[name]
    assert (manifest.schema_version, manifest.embedding_dim, manifest.reads_popularity) == (2, 8, True)
    assert manifest.history == HistoryReach(length=4, days=30)
    assert manifest.seen_events == EVENTS
    assert manifest.schema_digest == bundle.schema.digest == SHOP.digest
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["tiny-1"]


def test_arrays_and_raw_values_are_those_that_were_there(source: Path, tmp_path: Path) -> None:
    convert_bundle(source, tmp_path / "tiny-1")
    bundle = open_bundle(tmp_path / "tiny-1")
    for old, new in (("categorical", "codes"), ("continuous", "numbers"), ("image", "vectors/image")):
        np.testing.assert_array_equal(bundle.array(f"items/{new}"), np.load(source / f"items/{old}.npy"))
    np.testing.assert_array_equal(bundle.values["price"], np.load(source / "items/price.npy"))
    categories = list(bundle.strings("items/category_l1"))
    assert [bundle.values["category_l1"].of_item(row) for row in range(bundle.num_items)] == categories  # type: ignore[union-attr]
    transforms, old = bundle.transforms, json.loads((source / "transforms.json").read_text())
    age, price = transforms.numbers["age_norm"], transforms.numbers["price_log_norm"]
    assert (age.fill, age.mean, age.std) == (old["default_age"], old["age_mean"], old["age_std"])
    assert (price.fill, price.mean, price.std) == (old["price_log_mean"], old["price_log_mean"], old["price_log_std"])
    assert {name: list(words.tokens) for name, words in transforms.vocabularies.items()} == old["vocabularies"]


def test_another_name_is_another_version(source: Path, tmp_path: Path) -> None:
    chosen = {"config": {"preprocess": {"seen_events": ["purchase"]}}}
    rewrite(source, lambda values: values.update(chosen))
    manifest = convert_bundle(source, tmp_path / "tiny-2")
    assert (manifest.version, manifest.parent, manifest.seen_events) == ("tiny-2", "tiny-1", ("purchase",))


OLD_NAMES = (
    (r"^bottom_first\.", "pair_first."),
    (r"^bottom_numbers\.", "bottom_price."),
    (r"^(query_fields|item_fields)\.embeddings\.", r"\1."),
    (r"^item_fields\.scales\.0\.", "text_scale."),
    (r"^item_fields\.scales\.1\.", "image_scale."),
    (r"^item_fields\.vectors\.0\.", "text."),
    (r"^item_fields\.vectors\.1\.", "image."),
    (r"^history\.encoder\.vectors\.0\.", "history.encoder.text."),
    (r"^history\.encoder\.vectors\.1\.", "history.encoder.image."),
)
"""What layout 1 called the weights of a ranker whose price is in the bottom MLP."""


def old_name(name: str) -> str:
    for pattern, old in OLD_NAMES:
        name = re.sub(pattern, old, name)
    return name


def test_weights_of_a_ranker_whose_price_is_in_the_bottom(source: Path, tmp_path: Path) -> None:
    convert_bundle(source, tmp_path / "tiny-1")
    bundle = open_bundle(tmp_path / "tiny-1")
    entry = json.loads((source / "ranker/config.json").read_text())
    entry["config"]["price_in_bottom"] = True
    (source / "ranker/config.json").write_text(json.dumps(entry))
    items = ItemTensors(bundle.items, bundle.array("ranker/encoded_id"))
    schema = ModelSchema.of(bundle.transforms, bundle.items)
    torch.manual_seed(3)
    trained, converted = (DLRM(DLRMConfig.model_validate(entry["config"]), schema, items) for _ in range(2))
    weights = {old_name(name): tensor for name, tensor in trained.state_dict().items()}
    assert {"bottom.0.weight", "bottom_price.weight", "pair_first.weight", "text.weight", "text_scale.scale"} < set(
        weights
    )
    save_file(weights, source / "ranker/weights.safetensors")
    rewrite(source, lambda values: None)

    convert_bundle(source, tmp_path / "tiny-2")

    load_weights(converted, tmp_path / "tiny-2" / "ranker")
    for name, tensor in trained.state_dict().items():
        torch.testing.assert_close(converted.state_dict()[name], tensor, rtol=0, atol=0)
    assert set(load_file(tmp_path / "tiny-2/ranker/weights.safetensors")) == set(trained.state_dict())


def test_a_folder_that_exists_is_left_alone(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "tiny-1"
    target.mkdir()
    with pytest.raises(BundleError, match="tiny-1 exists; name a folder that does not"):
        convert_bundle(source, target)
    assert list(target.iterdir()) == []


def change_json(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    def apply(folder: Path) -> None:
        values = json.loads((folder / name).read_text())
        change(values)
        (folder / name).write_text(json.dumps(values))
        rewrite(folder, lambda values: None)

    return apply


def damaged(name: str) -> Callable[[Path], Any]:
    def damage(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[-1] ^= 1
        (folder / name).write_bytes(content)

    return damage


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda folder: (folder / MANIFEST).unlink(),
            f"no {MANIFEST} with its digest in .*; expected the folder of a b",
        ),
        (lambda folder: (folder / MANIFEST_DIGEST).unlink(), f"no {MANIFEST} with its digest in"),
        (damaged(MANIFEST), f"{MANIFEST} does not match {MANIFEST_DIGEST}; it is damaged"),
        (
            lambda folder: rewrite(folder, lambda values: values.update(schema_version=2)),
            "version 2; only 1 is converte",
        ),
        (damaged("items/price.npy"), "'items/price.npy' is gone or does not match its checksum"),
        (
            lambda folder: (folder / "items/text.npy").unlink(),
            "'items/text.npy' is gone or does not match its checksum",
        ),
        (
            lambda folder: rewrite(
                folder, lambda values: values["files"].update({"../outside": {"sha256": "0" * 64, "size": 0}})
            ),
            "'../outside' is not a path below the bundle's folder",
        ),
        (
            lambda folder: rewrite(folder, lambda values: [values.pop(name) for name in ("shop", "dims", "files")]),
            f"{MANIFEST} is not of layout 1: shop: Field required; dims: Field required; files: Field required",
        ),
        (
            lambda folder: rewrite(folder, lambda values: values.update(config={"preprocess": {"seen_events": [3]}})),
            f"{MANIFEST} is not of layout 1: seen_events.0: Input should be",
        ),
        (
            change_json("transforms.json", lambda values: values.pop("age_mean")),
            "transforms.json is not of layout 1: age_mean: Field required",
        ),
        (
            change_json("ranker/config.json", lambda values: values["schema"].pop("text_dim")),
            "ranker/config.json is not of layout 1: text_dim: Field required",
        ),
        (
            change_json("ranker/config.json", lambda values: values["schema"]["cardinalities"].pop("user_id")),
            "ranker/config.json has no cardinalities of user_id",
        ),
        (
            change_json("two_tower/config.json", lambda values: values.pop("config")),
            "two_tower/config.json has no 'config' of type dict",
        ),
    ],
)
def test_what_cannot_be_converted_leaves_nothing(
    source: Path, tmp_path: Path, change: Callable[[Path], Any], says: str
) -> None:
    change(source)
    with pytest.raises(BundleError, match=says):
        convert_bundle(source, tmp_path / "new" / "tiny-1")
    assert not list((tmp_path / "new").glob("*"))
