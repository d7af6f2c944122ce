"""Carries a bundle of layout 1, whose features were fixed in code, to the present layout: nothing is trained again.

Arrays and weights stay as they are; they get the names that the feature schema `shop` gives them.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.numpy import load_file, save_file

from contracts import columns as c
from contracts.bundle import file_entry, open_bundle, seal
from contracts.bundle_layout import MODELS, POPULARITY, VALUES
from contracts.encoders import NumberFit
from contracts.errors import BundleError
from contracts.feature import Side
from contracts.files import make_private
from contracts.history import HistoryReach, StoredReader
from contracts.item_values import Categories, ItemValues, save_values
from contracts.json_text import parse_object
from contracts.manifest import MANIFEST, MANIFEST_DIGEST, SCHEMA_VERSION, Manifest, is_path
from contracts.presets import AGE_EDGES, ITEM_GENDER, PRICE_LOG_NORM, SHOP
from contracts.strings import map_array
from contracts.transforms import FittedTransforms
from contracts.vocabulary import Vocabulary

OLD_VERSION: Final = 1
_ARRAYS: Final = {
    "items/categorical": "items/codes",
    "items/continuous": "items/numbers",
    "items/text": "items/vectors/text",
    "items/image": "items/vectors/image",
}
"""Old and new names of what is renamed."""
_GONE: Final = ("items/price.npy", "transforms.json")
_WEIGHTS: Final = (
    (r"(^|\.)(query_tower|candidate_tower)\.continuous\.", r"\1\2.numbers."),
    (r"(candidate_tower|history\.encoder)\.text\.scale$", r"\1.vectors.0.scale"),
    (r"(candidate_tower|history\.encoder)\.image\.scale$", r"\1.vectors.1.scale"),
    (r"^text_scale\.", "item_fields.scales.0."),
    (r"^image_scale\.", "item_fields.scales.1."),
    (r"^text\.", "item_fields.vectors.0."),
    (r"^image\.", "item_fields.vectors.1."),
    (r"^price\.", "item_fields.numbers."),
    (r"^(query_fields|item_fields)\.tables\.", r"\1.embeddings.tables."),
    (r"^bottom_price\.", "bottom_numbers."),
    (r"^pair_first\.", "bottom_first."),
)
"""Patterns of names of weights, and what they become."""
_BOTTOM: Final = (r"^bottom\.", "query_fields.numbers.")
"""The same where the numbers of items are no part of the bottom MLP."""


def convert_bundle(source: Path, target: Path) -> Manifest:
    """Writes a bundle of the present layout.

    Args:
        source: folder of a bundle of layout 1.
        target: folder that does not exist; its name is the new bundle's version.

    Raises:
        BundleError: the source is of another layout or damaged, the target exists, or what was written does not open.
    """
    if target.exists():
        raise BundleError(f"{target} exists; name a folder that does not")
    old = _read_manifest(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
        folder = Path(temporary) / target.name
        _copy_files(source, folder, old)
        transforms = _transforms(parse_object((source / "transforms.json").read_bytes()))
        transforms.save(folder)
        save_values(_values(source, transforms), folder / VALUES)
        sealed = seal(folder, _manifest(old, folder, transforms, target.name))
        open_bundle(folder)
        make_private(folder)
        folder.rename(target)
    return sealed


def _read_manifest(source: Path) -> dict[str, Any]:
    """The old manifest, once every file of it was found to be what it says."""
    path = source / MANIFEST
    if not path.is_file() or not (source / MANIFEST_DIGEST).is_file():
        raise BundleError(f"no {MANIFEST} with its digest in {source}; expected the folder of a bundle")
    content = path.read_bytes()
    if (source / MANIFEST_DIGEST).read_text() != hashlib.sha256(content).hexdigest():
        raise BundleError(f"{path} does not match {MANIFEST_DIGEST}; it is damaged")
    old: dict[str, Any] = json.loads(content)
    if (found := old.get("schema_version")) != OLD_VERSION:
        raise BundleError(f"{path} has schema version {found!r}; only {OLD_VERSION} is converted")
    for name, entry in old["files"].items():
        file = source / name
        if not is_path(name):
            raise BundleError(f"bundle {old['version']}: {name!r} is no path below the bundle's folder")
        if not file.is_file() or file_entry(file).model_dump() != entry:
            raise BundleError(f"bundle {old['version']}: {name!r} is gone or does not match its checksum")
    return old


def _copy_files(source: Path, folder: Path, old: Mapping[str, Any]) -> None:
    for name in old["files"]:
        if name in _GONE:
            continue
        stem = name.removesuffix(".npy")
        path = folder / (f"{_ARRAYS[stem]}.npy" if stem in _ARRAYS else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, path)
    for model in MODELS:
        _convert_model(folder / model)


def _convert_model(folder: Path) -> None:
    entry = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    cardinalities, query, item = entry["schema"]["cardinalities"], SHOP.layout(Side.QUERY), SHOP.layout(Side.ITEM)
    vectors = {"text": entry["schema"]["text_dim"], "image": entry["schema"]["image_dim"]}
    entry["schema"] = {
        "query": {"codes": {name: cardinalities[name] for name in query.codes}, "numbers": query.numbers},
        "item": {
            "codes": {name: cardinalities[name] for name in item.codes},
            "numbers": item.numbers,
            "vectors": vectors,
        },
        "num_item_ids": cardinalities[c.ITEM_ID],
    }
    (folder / "config.json").write_text(json.dumps(entry, indent=2) + "\n", encoding="utf-8")
    in_bottom = entry["config"].get("price_in_bottom", False)
    patterns = _WEIGHTS if in_bottom or entry["name"] == "two_tower" else (*_WEIGHTS, _BOTTOM)
    weights = load_file(folder / "weights.safetensors")
    save_file({_renamed(name, patterns): array for name, array in weights.items()}, folder / "weights.safetensors")


def _renamed(name: str, patterns: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in patterns:
        name, found = re.subn(pattern, replacement, name)
        if found:
            break
    return name


def _transforms(old: Mapping[str, Any]) -> FittedTransforms:
    age = NumberFit(fill=old["default_age"], mean=old["age_mean"], std=old["age_std"])
    price = NumberFit(fill=old["price_log_mean"], mean=old["price_log_mean"], std=old["price_log_std"])
    return FittedTransforms(
        schema=SHOP,
        vocabularies={name: Vocabulary(tuple(tokens)) for name, tokens in old["vocabularies"].items()},
        numbers={"age_binned": NumberFit(edges=AGE_EDGES), "age_norm": age, PRICE_LOG_NORM: price},
        timezone=old["timezone"],
    )


def _values(source: Path, transforms: FittedTransforms) -> ItemValues:
    """Raw values of the items: the models knew all of them, so their codes are those of the models."""
    codes = np.asarray(map_array(source / "items/categorical.npy"))
    named = zip((c.CATEGORY_L1, c.CATEGORY_L2, ITEM_GENDER), codes.T, strict=True)
    values = {
        SHOP[name].column_name: Categories(transforms.vocabularies[name], np.ascontiguousarray(column))
        for name, column in named
    }
    return {**values, c.PRICE: np.asarray(map_array(source / "items/price.npy"))}


def _manifest(old: Mapping[str, Any], folder: Path, transforms: FittedTransforms, version: str) -> Manifest:
    kept = {name: value for name, value in old.items() if name in Manifest.model_fields}
    configs = {model: json.loads((folder / model / "config.json").read_text())["config"] for model in MODELS}
    readers = {model: StoredReader.of(config) for model, config in configs.items()}
    preprocess = old.get("config", {}).get("preprocess", {})
    return Manifest.model_validate(
        kept
        | {
            "schema_version": SCHEMA_VERSION,
            "version": version,
            "parent": old.get("parent") if version == old["version"] else old["version"],
            "files": {},
            "embedding_dim": old["dims"]["embedding"],
            "history": HistoryReach.of(readers, BundleError),
            "seen_events": tuple(preprocess.get("seen_events", c.EVENTS)),
            "reads_popularity": (folder / f"{POPULARITY}.npy").is_file(),
            "schema_digest": transforms.schema.digest,
            "vocabulary_hashes": {name: one.digest for name, one in transforms.vocabularies.items()},
        }
    )
