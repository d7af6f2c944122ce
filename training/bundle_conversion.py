"""Converts a bundle of layout 1, whose features were fixed in code, to the present layout; nothing is trained again.

Arrays and weights keep their values and get the names that the feature schema `shop` gives them.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from pydantic import BaseModel, JsonValue, ValidationError
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
from contracts.json_text import parse_json
from contracts.manifest import MANIFEST, MANIFEST_DIGEST, SCHEMA_VERSION, EncoderEntry, FileEntry, Manifest, is_path
from contracts.model_entry import MODEL_CONFIG, ModelEntry
from contracts.presets import AGE_EDGES, ITEM_GENDER, PRICE_LOG_NORM, SHOP
from contracts.strings import map_array
from contracts.transforms import FittedTransforms
from contracts.vocabulary import Vocabulary
from training.models.schema import ModelSchema, SideSizes

OLD_VERSION: Final = 1
_ARRAYS: Final = {
    "items/categorical": "items/codes",
    "items/continuous": "items/numbers",
    "items/text": "items/vectors/text",
    "items/image": "items/vectors/image",
}
"""New names of renamed arrays by their old ones."""
_TRANSFORMS: Final = "transforms.json"
_GONE: Final = ("items/price.npy", _TRANSFORMS)
_MAX_FAULTS: Final = 5
"""An error names at most this many keys."""
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
"""Patterns of old names of weights, and their replacements."""
_BOTTOM: Final = (r"^bottom\.", "query_fields.numbers.")
"""One more pattern, for rankers whose bottom MLP does not read the numbers of items."""

OldT = TypeVar("OldT", bound=BaseModel)


class OldDims(BaseModel):
    """Widths of embeddings."""

    embedding: int


class OldManifest(BaseModel):
    """The manifest of layout 1: the fields that are kept, `dims` and `files`."""

    version: str
    shop: str
    created: str
    parent: str | None = None
    git_revision: str | None = None
    raw_dir: str
    timezone: str
    first_day: str
    last_day: str
    num_items: int
    metrics: dict[str, float]
    encoders: dict[str, EncoderEntry]
    missing: list[str] = []
    warnings: list[str] = []
    config: dict[str, JsonValue] = {}
    dims: OldDims
    files: dict[str, FileEntry]


class OldTransforms(BaseModel):
    """The fitted transforms of layout 1."""

    timezone: str
    vocabularies: dict[str, list[str]]
    default_age: float
    age_mean: float
    age_std: float
    price_log_mean: float
    price_log_std: float


class OldSizes(BaseModel):
    """Sizes of a model's data in layout 1: rows of embedding tables, floats of vectors."""

    cardinalities: dict[str, int]
    text_dim: int
    image_dim: int


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
        transforms = _transforms(source / _TRANSFORMS)
        transforms.save(folder)
        save_values(_values(source, transforms), folder / VALUES)
        sealed = seal(folder, _manifest(old, folder, transforms, target.name))
        open_bundle(folder)
        make_private(folder)
        folder.rename(target)
    return sealed


def _read_manifest(source: Path) -> OldManifest:
    """The old manifest, after its files were checked against it."""
    path = source / MANIFEST
    if not path.is_file() or not (source / MANIFEST_DIGEST).is_file():
        raise BundleError(f"no {MANIFEST} with its digest in {source}; expected the folder of a bundle")
    content = path.read_bytes()
    if (source / MANIFEST_DIGEST).read_text() != hashlib.sha256(content).hexdigest():
        raise BundleError(f"{path} does not match {MANIFEST_DIGEST}; it is damaged")
    values = _read_json(path)
    if (found := values.get("schema_version")) != OLD_VERSION:
        raise BundleError(f"{path} has schema version {found!r}; only {OLD_VERSION} is converted")
    old = _checked(OldManifest, values, path)
    for name, entry in old.files.items():
        file = source / name
        if not is_path(name):
            raise BundleError(f"bundle {old.version}: {name!r} is not a path below the bundle's folder")
        if not file.is_file() or file_entry(file) != entry:
            raise BundleError(f"bundle {old.version}: {name!r} is gone or does not match its checksum")
    return old


def _read_json(path: Path) -> dict[str, JsonValue]:
    try:
        values: JsonValue = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise BundleError(f"{path} holds a {type(values).__name__}, expected an object")
    return values


def _checked(model: type[OldT], values: object, path: Path) -> OldT:
    """Checks the values of a file of layout 1; the error names missing and wrong keys."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:_MAX_FAULTS]]
        raise BundleError(f"{path} is not of layout {OLD_VERSION}: {'; '.join(faults)}") from error


def _read_entry(folder: Path) -> ModelEntry:
    path = folder / MODEL_CONFIG
    return ModelEntry.of(_read_json(path), str(path))


def _copy_files(source: Path, folder: Path, old: OldManifest) -> None:
    for name in old.files:
        if name in _GONE:
            continue
        stem = name.removesuffix(".npy")
        path = folder / (f"{_ARRAYS[stem]}.npy" if stem in _ARRAYS else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, path)
    for model in MODELS:
        _convert_model(folder / model)


def _convert_model(folder: Path) -> None:
    path, entry = folder / MODEL_CONFIG, _read_entry(folder)
    schema = _model_schema(_checked(OldSizes, entry.schema, path), path)
    values = {"name": entry.name, "config": entry.config, "schema": schema.model_dump(mode="json")}
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    in_bottom = entry.config.get("price_in_bottom", False)
    patterns = _WEIGHTS if in_bottom or entry.name == "two_tower" else (*_WEIGHTS, _BOTTOM)
    weights = load_file(folder / "weights.safetensors")
    save_file({_renamed(name, patterns): array for name, array in weights.items()}, folder / "weights.safetensors")


def _model_schema(old: OldSizes, path: Path) -> ModelSchema:
    query, item, rows = SHOP.layout(Side.QUERY), SHOP.layout(Side.ITEM), old.cardinalities
    if lacking := sorted({*query.codes, *item.codes, c.ITEM_ID} - rows.keys()):
        raise BundleError(f"{path} has no cardinalities of {', '.join(lacking)}")
    return ModelSchema(
        query=SideSizes(codes={name: rows[name] for name in query.codes}, numbers=query.numbers),
        item=SideSizes(
            codes={name: rows[name] for name in item.codes},
            numbers=item.numbers,
            vectors={"text": old.text_dim, "image": old.image_dim},
        ),
        num_item_ids=rows[c.ITEM_ID],
    )


def _renamed(name: str, patterns: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in patterns:
        name, found = re.subn(pattern, replacement, name)
        if found:
            break
    return name


def _transforms(path: Path) -> FittedTransforms:
    old = _checked(OldTransforms, _read_json(path), path)
    age = NumberFit(fill=old.default_age, mean=old.age_mean, std=old.age_std)
    price = NumberFit(fill=old.price_log_mean, mean=old.price_log_mean, std=old.price_log_std)
    return FittedTransforms(
        schema=SHOP,
        vocabularies={name: Vocabulary(tuple(tokens)) for name, tokens in old.vocabularies.items()},
        numbers={"age_binned": NumberFit(edges=AGE_EDGES), "age_norm": age, PRICE_LOG_NORM: price},
        timezone=old.timezone,
    )


def _values(source: Path, transforms: FittedTransforms) -> ItemValues:
    """Raw values of the items; their codes are those of the models, whose vocabularies have all of them."""
    codes = np.asarray(map_array(source / "items/categorical.npy"))
    named = zip((c.CATEGORY_L1, c.CATEGORY_L2, ITEM_GENDER), codes.T, strict=True)
    values = {
        SHOP[name].column_name: Categories(transforms.vocabularies[name], np.ascontiguousarray(column))
        for name, column in named
    }
    return {**values, c.PRICE: np.asarray(map_array(source / "items/price.npy"))}


def _manifest(old: OldManifest, folder: Path, transforms: FittedTransforms, version: str) -> Manifest:
    readers = {model: StoredReader.of(_read_entry(folder / model).config) for model in MODELS}
    preprocess = old.config.get("preprocess")
    values = old.model_dump(exclude={"dims"}) | {
        "schema_version": SCHEMA_VERSION,
        "version": version,
        "parent": old.parent if version == old.version else old.version,
        "files": {},
        "embedding_dim": old.dims.embedding,
        "history": HistoryReach.of(readers, BundleError),
        "seen_events": preprocess.get("seen_events", c.EVENTS) if isinstance(preprocess, dict) else c.EVENTS,
        "reads_popularity": (folder / f"{POPULARITY}.npy").is_file(),
        "schema_digest": transforms.schema.digest,
        "vocabulary_hashes": {name: one.digest for name, one in transforms.vocabularies.items()},
    }
    return _checked(Manifest, values, Path(MANIFEST))
