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
from contracts.strings import StringColumn
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
    check_refused(folder, "is not a path below the bundle's folder; expected one such as 'items/price.npy'")


def test_a_link_in_a_bundle(folder: Path, tmp_path: Path) -> None:
    price = folder / "values/price.npy"
    price.rename(tmp_path / "price.npy")
    price.symlink_to(tmp_path / "price.npy")
    check_refused(folder, "'values/price.npy' is or goes through a link")


def test_a_linked_folder_in_a_bundle(folder: Path, tmp_path: Path) -> None:
    (folder / "bloom").rename(tmp_path / "bloom")
    (folder / "bloom").symlink_to(tmp_path / "bloom")
    check_refused(folder, r"'bloom/hashes.npy' is or goes through a link")


def test_hard_links_and_a_linked_folder_of_bundles_are_fine(folder: Path, tmp_path: Path) -> None:
    os.link(folder / "values/price.npy", tmp_path / "shared.npy")
    (tmp_path / "linked").symlink_to(folder.parent)
    assert open_bundle(tmp_path / "linked" / "v1").version == "v1"


@pytest.mark.parametrize(
    "name",
    [
        *("schema.json", "transforms.json", "items/codes.npy", "items/numbers.npy"),
        *("index/faiss.index", "popularity/global.npy", "bloom/hashes.npy"),
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
        (b'{"schema_version": 2, "schema_version": 2}', "the key 'schema_version' is there twice"),
        (b'{"schema_version": NaN}', "NaN is not a finite number"),
        (b"[1]", "has schema version None"),
        (b"\xff", "is not a bundle manifest: .*invalid start byte"),
    ],
)
def test_a_manifest_that_is_none(folder: Path, content: bytes, says: str) -> None:
    write_manifest(folder, content)
    check_refused(folder, says)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("num_items", "12"), ("num_items", -1), ("num_items", 12.5), ("num_items", True), ("files", [])),
        *(
            ("embedding_dim", "4"),
            ("history", {"length": 4}),
            ("vocabulary_hashes", {"gender": 1}),
            ("shop", None),
            ("unknown", 1),
        ),
    ],
)
def test_wrong_types_in_a_manifest(folder: Path, field: str, value: object) -> None:
    rewrite(folder, lambda values: values.update({field: value}))
    check_refused(folder, f"manifest.json is not a bundle manifest: {field}")


TRANSFORMS: list[tuple[str, Callable[[Any], Any], str]] = [
    ("transforms.json", lambda values: values.pop("timezone"), "timezone: Field required"),
    ("transforms.json", lambda values: values.update(other=1), "other: Extra inputs are not permitted"),
    ("transforms.json", lambda values: values["numbers"]["age_norm"].update(std="ten"), "age_norm.std: .*valid number"),
    ("transforms.json", lambda values: values["numbers"]["age_norm"].update(std=0.0), "age_norm.std: .*greater than 0"),
    ("transforms.json", lambda values: values["numbers"]["age_norm"].update(edges=[2, 1]), "not ascending edges"),
    ("transforms.json", lambda values: values["numbers"].pop("age_norm"), r"the numbers are of \['age_binned', 'price"),
    ("transforms.json", lambda values: values.update(timezone="Mars/North"), "unknown timezone 'Mars/North'"),
    ("transforms.json", lambda values: values.update(timezone="../../etc/passwd"), "unknown timezone '../../etc/passw"),
    ("transforms.json", lambda values: values.update(timezone="Europe"), "unknown timezone 'Europe'"),
    ("schema.json", lambda values: values.append(values[0]), "the name 'user_id' of the query feature"),
    ("schema.json", lambda values: values[0].update(kind="colour"), "kind: Input should be 'categorical'"),
    ("schema.json", lambda values: values[0].update(name="../x"), "name: String should match pattern"),
    ("schema.json", lambda values: values[0].update(column="a/b"), "column: String should match pattern"),
    ("schema.json", lambda values: values[0].update(name="user"), "vocabulary '.*/vocabularies/user' cannot be used"),
]


@pytest.mark.parametrize(("file", "change", "says"), TRANSFORMS)
def test_transforms_that_cannot_be_used(folder: Path, file: str, change: Callable[[Any], Any], says: str) -> None:
    values = json.loads((folder / file).read_text())
    change(values)
    replace(folder, file, json.dumps(values).encode())
    check_refused(folder, f"bundle v1: its transforms cannot be used: .*({says})")


def test_a_schema_that_is_none(folder: Path) -> None:
    replace(folder, "schema.json", b"{}")
    check_refused(folder, "its transforms cannot be used: a schema is a list of features, got a dict")


def test_a_schema_other_than_the_manifests(folder: Path) -> None:
    values = json.loads((folder / "schema.json").read_text())
    values[1]["nullable"] = False
    replace(folder, "schema.json", json.dumps(values).encode())
    check_refused(folder, "bundle v1: 'schema.json' is not the one that the manifest names")


def test_a_vocabulary_that_repeats_a_token(folder: Path) -> None:
    StringColumn.pack(["F", "F"]).save(folder / "vocabularies/gender")
    for part in ("offsets", "data"):
        name = f"vocabularies/gender.{part}.npy"
        replace(folder, name, (folder / name).read_bytes())
    check_refused(folder, "vocabulary '.*gender' cannot be used: vocabulary token 'F' occurs twice")


def test_a_vocabulary_that_the_manifest_does_not_list(folder: Path) -> None:
    rewrite(folder, lambda values: values["files"].pop("vocabularies/gender.data.npy") and None)
    check_refused(folder, "bundle v1 has no file 'vocabularies/gender.data.npy'")


@pytest.mark.parametrize("content", [b"{" * 90_000, b"\xff", b"[]", b'{"name": NaN}', b'{"name": 1}', b"{}"])
@pytest.mark.parametrize("name", ["two_tower/config.json", "ranker/config.json"])
def test_a_model_whose_description_is_none(folder: Path, name: str, content: bytes) -> None:
    replace(folder, name, content)
    check_refused(folder, f"bundle v1: '{name}'")


@pytest.mark.parametrize(
    ("name", "array", "says"),
    [
        ("values/price", np.zeros(12, np.float32), "is float32 with 1 dimensions, expected float64 with 1"),
        ("two_tower/candidate", np.zeros(12, np.float32), "is float32 with 1 dimensions, expected float32 with 2"),
        ("popularity/global", np.array([12], np.int32), r"item rows span \[12, 12\], expected within \[0, 11\]"),
        ("items/title.offsets", np.arange(13)[::-1].copy(), "'items/title' is not a string column"),
        ("items/title.offsets", np.arange(13, dtype=np.float64), "'items/title' is not a string column"),
    ],
)
def test_arrays_of_another_type(folder: Path, name: str, array: np.ndarray[Any, Any], says: str) -> None:
    np.save(folder / f"{name}.npy", array)
    replace(folder, f"{name}.npy", (folder / f"{name}.npy").read_bytes())
    check_refused(folder, says)


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00\xff\xff{"])
def test_a_file_that_is_no_array(folder: Path, content: bytes) -> None:
    replace(folder, "values/price.npy", content)
    check_refused(folder, "'values/price.npy' is not an array")


def test_an_array_of_objects_is_not_unpickled(folder: Path) -> None:
    np.save(folder / "values/price.npy", np.array([{}] * 12, dtype=object), allow_pickle=True)
    replace(folder, "values/price.npy", (folder / "values/price.npy").read_bytes())
    check_refused(folder, "'values/price.npy' is not an array")
