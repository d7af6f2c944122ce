"""Bundles that somebody else made: whatever they hold is refused by name, before promotion and when they are opened."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.bundle import open_bundle
from contracts.errors import BundleError, RegistryError
from contracts.manifest import MANIFEST, MANIFEST_DIGEST
from contracts.registry import Registry
from tests.fixtures.tiny_bundle import tiny_parts
from training.bundle_parts import write_parts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_parts(tiny_parts(tmp_path / "inputs"), tmp_path / "bundles", "v1")


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes the manifest and gives it its digest."""
    values = json.loads((folder / MANIFEST).read_text())
    write_manifest(folder, json.dumps(change(values) or values).encode())


def write_manifest(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    (folder / MANIFEST_DIGEST).write_text(hashlib.sha256(content).hexdigest())


def replace(folder: Path, name: str, content: bytes) -> None:
    """Changes a file and tells the manifest."""
    (folder / name).write_bytes(content)
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    rewrite(folder, lambda values: values["files"].update({name: entry}))


def check_refused(folder: Path, says: str) -> None:
    for verify in (True, False):
        with pytest.raises(BundleError, match=says):
            open_bundle(folder, verify=verify)
    with pytest.raises(RegistryError, match=says):
        Registry.open(folder.parent).promote("v1", "first")
    assert Registry.open(folder.parent).production() is None


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "/etc/hosts",
        "items/../../outside",
        "items\\price",
        "a\x00b",
        "",
        ".",
        "items//price",
        "C:x",
        "./items/x",
        "items/",
        "~/x\n",
        "\ud800",
        "x" * 256,
        "ä" * 128,
    ],
)
def test_a_path_that_leaves_the_folder(folder: Path, name: str) -> None:
    (folder.parent / "outside").write_bytes(b"secret")
    rewrite(folder, lambda values: values["files"].update({name: {"sha256": "0" * 64, "size": 6}}))
    check_refused(folder, "is no path below the bundle's folder; expected one such as 'items/price.npy'")


def test_a_link_in_a_bundle(folder: Path, tmp_path: Path) -> None:
    price = folder / "items/price.npy"
    price.rename(tmp_path / "price.npy")
    price.symlink_to(tmp_path / "price.npy")
    check_refused(folder, "'items/price.npy' is or goes through a link")


def test_a_linked_folder_in_a_bundle(folder: Path, tmp_path: Path) -> None:
    (folder / "bloom").rename(tmp_path / "bloom")
    (folder / "bloom").symlink_to(tmp_path / "bloom")
    check_refused(folder, r"'bloom/hashes.npy' is or goes through a link")


def test_hard_links_and_a_linked_folder_of_bundles_are_fine(folder: Path, tmp_path: Path) -> None:
    os.link(folder / "items/price.npy", tmp_path / "shared.npy")
    (tmp_path / "linked").symlink_to(folder.parent)
    assert open_bundle(tmp_path / "linked" / "v1").version == "v1"


@pytest.mark.parametrize(
    "name",
    [
        *("transforms.json", "index/faiss.index", "popularity/global.npy", "bloom/hashes.npy"),
        *("ranker/weights.safetensors", "two_tower/config.json", "items/title.offsets.npy", "items/title.data.npy"),
    ],
)
def test_a_part_that_serving_needs_and_the_manifest_does_not_list(folder: Path, name: str) -> None:
    (folder / name).unlink()
    rewrite(folder, lambda values: values["files"].pop(name) and None)
    check_refused(folder, f"bundle v1 lacks '{name}', which serving needs")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"a":' * 50_000, "it is nested too deep"),
        (b'{"schema_version": ' + b"1" * 5_000 + b"}", "Exceeds the limit"),
        (b'{"schema_version": 1, "schema_version": 1}', "the key 'schema_version' is there twice"),
        (b'{"schema_version": NaN}', "NaN is no finite number"),
        (b"[1]", "has schema version None"),
        (b"\xff", "is no manifest of a bundle: .*invalid start byte"),
    ],
)
def test_a_manifest_that_is_none(folder: Path, content: bytes, says: str) -> None:
    write_manifest(folder, content)
    check_refused(folder, says)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("num_items", "12"), ("num_items", -1), ("num_items", 12.5), ("num_items", True), ("files", [])),
        *(("dims", {"text": "4"}), ("vocabulary_hashes", {"gender": 1}), ("shop", None), ("unknown", 1)),
    ],
)
def test_wrong_types_in_a_manifest(folder: Path, field: str, value: object) -> None:
    rewrite(folder, lambda values: values.update({field: value}))
    check_refused(folder, f"manifest.json is no manifest of a bundle: {field}")


TRANSFORMS: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda values: values.pop("age_std") and None, "it has .*, expected"),
    (lambda values: values.update(other=1), "it has .*'other'"),
    (lambda values: values.update(age_std="10"), "age_std is a str, expected a number"),
    (lambda values: values.update(age_std=0.0), "age_std is 0.0, expected a positive number"),
    (lambda values: values.update(timezone="Mars/North"), "unknown timezone 'Mars/North'"),
    (lambda values: values.update(timezone="../../etc/passwd"), "unknown timezone '../../etc/passwd'"),
    (lambda values: values.update(timezone="Europe"), "unknown timezone 'Europe'"),
    (lambda values: values["vocabularies"].update(gender=["F", 1]), "the vocabulary 'gender' holds something else"),
    (lambda values: values["vocabularies"].update(gender="FM"), "vocabularies hold something else than lists"),
    (lambda values: values["vocabularies"].update(gender=["F", "F"]), "vocabulary token 'F' occurs twice"),
    (lambda values: values["vocabularies"].pop("gender") and None, "no vocabulary for"),
]


@pytest.mark.parametrize(("change", "says"), TRANSFORMS)
def test_transforms_that_cannot_be_used(folder: Path, change: Callable[[dict[str, Any]], Any], says: str) -> None:
    values = json.loads((folder / "transforms.json").read_text())
    change(values)
    replace(folder, "transforms.json", json.dumps(values).encode())
    check_refused(folder, f"bundle v1: 'transforms.json' cannot be used: .*({says})")


@pytest.mark.parametrize("content", [b"{" * 90_000, b"\xff", b"[]", b'{"name": NaN}', b'{"name": 1}', b"{}"])
@pytest.mark.parametrize("name", ["two_tower/config.json", "ranker/config.json"])
def test_a_model_whose_description_is_none(folder: Path, name: str, content: bytes) -> None:
    replace(folder, name, content)
    check_refused(folder, f"bundle v1: '{name}'")


@pytest.mark.parametrize(
    ("name", "array", "says"),
    [
        ("items/price", np.zeros(12, np.float32), "is float32 with 1 dimensions, expected float64 with 1"),
        ("two_tower/candidate", np.zeros(12, np.float32), "is float32 with 1 dimensions, expected float32 with 2"),
        ("popularity/global", np.array([12], np.int32), r"item rows span \[12, 12\], expected within \[0, 11\]"),
        ("items/title.offsets", np.arange(13)[::-1].copy(), "'items/title' is no column of strings"),
        ("items/title.offsets", np.arange(13, dtype=np.float64), "'items/title' is no column of strings"),
    ],
)
def test_arrays_of_another_type(folder: Path, name: str, array: np.ndarray[Any, Any], says: str) -> None:
    np.save(folder / f"{name}.npy", array)
    replace(folder, f"{name}.npy", (folder / f"{name}.npy").read_bytes())
    check_refused(folder, says)


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00\xff\xff{"])
def test_a_file_that_is_no_array(folder: Path, content: bytes) -> None:
    replace(folder, "items/price.npy", content)
    check_refused(folder, "'items/price.npy' is no array")


def test_an_array_of_objects_is_not_unpickled(folder: Path) -> None:
    np.save(folder / "items/price.npy", np.array([{}] * 12, dtype=object), allow_pickle=True)
    replace(folder, "items/price.npy", (folder / "items/price.npy").read_bytes())
    check_refused(folder, "'items/price.npy' is no array")
