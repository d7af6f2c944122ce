"""Writing bundles: verified, immutable, deterministic, and damage is refused by name."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from contracts.bundle import open_bundle, seal
from contracts.errors import BundleError, DataError
from contracts.manifest import MANIFEST, MANIFEST_DIGEST, Manifest
from tests.fixtures.tiny_bundle import tiny_parts, tiny_prices
from training.bundle_parts import BundleParts, write_parts


@pytest.fixture
def parts(tmp_path: Path) -> BundleParts:
    return tiny_parts(tmp_path / "inputs")


@pytest.fixture
def bundle_dir(parts: BundleParts, tmp_path: Path) -> Path:
    return write_parts(parts, tmp_path / "bundles", "v1")


def test_a_written_bundle_opens_and_gives_back_what_went_in(parts: BundleParts, bundle_dir: Path) -> None:
    bundle = open_bundle(bundle_dir)
    assert bundle.version == "v1"
    assert bundle.transforms == parts.transforms
    assert bundle.items.columns.digest == parts.transforms.schema.digest
    for name in ("codes", "numbers"):
        np.testing.assert_array_equal(getattr(bundle.items.columns, name), getattr(parts.items.columns, name))
    for number, name in enumerate(("text", "image")):
        np.testing.assert_array_equal(bundle.item_vectors(name), parts.items.columns.vectors[number])
    assert bundle.item_vectors("style").shape == (12, 0)
    np.testing.assert_array_equal(bundle.values["price"], parts.values["price"])
    assert [bundle.values["category_l1"].of_item(row) for row in (0, 4)] == ["books", "shoes"]
    assert list(bundle.strings("items/description"))[:3] == ["Description 1", None, "Description 3"]
    assert bundle.rows_of(["i3", "nothing"]).tolist() == [2, -1]
    assert bundle.json("popularity/by_category.json")["category_l1"]["toys"] == [2]
    assert sorted(path.name for path in bundle_dir.parent.iterdir()) == ["v1"]


def test_equal_parts_give_equal_checksums(parts: BundleParts, bundle_dir: Path, tmp_path: Path) -> None:
    again = write_parts(parts, tmp_path / "elsewhere", "v1")
    assert open_bundle(again).manifest.files == open_bundle(bundle_dir).manifest.files


def test_an_equal_version_is_left_alone_and_another_content_refused(parts: BundleParts, bundle_dir: Path) -> None:
    before = (bundle_dir / MANIFEST).read_bytes()
    assert write_parts(parts, bundle_dir.parent, "v1") == bundle_dir
    assert (bundle_dir / MANIFEST).read_bytes() == before
    other = dataclasses.replace(parts, values={**parts.values, "price": tiny_prices(12) + 1})
    with pytest.raises(BundleError, match=r"bundle v1 exists with other content \(values/price.npy\)"):
        write_parts(other, bundle_dir.parent, "v1")


def test_every_removed_file_is_refused_by_name(bundle_dir: Path) -> None:
    for name in [*open_bundle(bundle_dir).manifest.files, MANIFEST, MANIFEST_DIGEST]:
        path = bundle_dir / name
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(BundleError, match=name):
            open_bundle(bundle_dir)
        path.write_bytes(content)
    open_bundle(bundle_dir)


def test_a_flipped_byte_in_any_file_is_refused_by_name(bundle_dir: Path) -> None:
    rng = random.Random(0)
    for name in [*open_bundle(bundle_dir).manifest.files, MANIFEST, MANIFEST_DIGEST]:
        path = bundle_dir / name
        content = path.read_bytes()
        for place in {0, len(content) - 1, rng.randrange(len(content))}:
            damaged = bytearray(content)
            damaged[place] ^= 1 << rng.randrange(8)
            path.write_bytes(damaged)
            with pytest.raises(BundleError, match=name):
                open_bundle(bundle_dir)
        path.write_bytes(content)
    open_bundle(bundle_dir)


def test_a_shortened_file_is_refused_even_without_checksums(bundle_dir: Path) -> None:
    path = bundle_dir / "ranker/weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"'ranker/weights.safetensors' has 9 bytes, the manifest says 10"):
        open_bundle(bundle_dir, verify=False)


def test_a_renamed_folder_is_refused(bundle_dir: Path) -> None:
    moved = bundle_dir.rename(bundle_dir.with_name("v2"))
    with pytest.raises(BundleError, match="folder 'v2' holds bundle 'v1'"):
        open_bundle(moved)


def test_another_schema_version_is_refused(bundle_dir: Path) -> None:
    for version, fix in ((99, "rebuild it"), (1, "convert it by python -m ray_apps.jobs.convert_bundle --help")):
        _reseal(bundle_dir, schema_version=version)
        with pytest.raises(BundleError, match=f"has schema version {version}, this code reads 2; {fix}"):
            open_bundle(bundle_dir)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no manifest.json in .*expected the folder of a bundle"):
        open_bundle(tmp_path)


def test_a_foreign_vocabulary_is_refused_by_name(bundle_dir: Path) -> None:
    hashes = {**open_bundle(bundle_dir).manifest.vocabulary_hashes, "gender": "other"}
    _reseal(bundle_dir, vocabulary_hashes=hashes)
    with pytest.raises(BundleError, match="vocabulary 'gender' is not the one that the manifest names"):
        open_bundle(bundle_dir)


def test_an_array_of_another_catalogue_is_refused_by_name(bundle_dir: Path) -> None:
    np.save(bundle_dir / "bloom/hashes.npy", np.zeros((3, 2), dtype=np.uint64))
    _reseal(bundle_dir)
    with pytest.raises(BundleError, match=r"'bloom/hashes.npy' has 3 rows for 12 items"):
        open_bundle(bundle_dir)


def test_a_column_of_another_catalogue_is_refused_by_name(parts: BundleParts, tmp_path: Path) -> None:
    short = dataclasses.replace(parts, strings={**parts.strings, "title": ["only one"]})
    with pytest.raises(BundleError, match="'items/title' has 1 rows for 12 items"):
        write_parts(short, tmp_path / "bundles", "v1")
    assert list((tmp_path / "bundles").iterdir()) == []


def test_a_missing_model_file_leaves_nothing_behind(parts: BundleParts, tmp_path: Path) -> None:
    (parts.ranker_dir / "weights.safetensors").unlink()
    with pytest.raises(DataError, match=r"no file 'weights.safetensors' in .*ranker; run the job"):
        write_parts(parts, tmp_path / "bundles", "v1")
    assert list((tmp_path / "bundles").iterdir()) == []


def test_an_unlisted_file_cannot_be_read(bundle_dir: Path) -> None:
    shutil.copy(bundle_dir / "transforms.json", bundle_dir / "extra.json")
    with pytest.raises(BundleError, match=r"has no file 'extra.json'"):
        open_bundle(bundle_dir).json("extra.json")


def _reseal(folder: Path, **changes: object) -> None:
    values = json.loads((folder / MANIFEST).read_text())
    seal(folder, Manifest.model_validate({**values, **changes}))
