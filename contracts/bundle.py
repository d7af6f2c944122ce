"""The artifact bundle: one immutable folder that holds everything serving needs, and how to open it.

Layout (arrays are .npy files that every replica of a machine maps; no pickle anywhere):

    manifest.json, manifest.sha256 (of manifest.json), transforms.json
    items/   categorical [I, 3] int32 · continuous [I, 1] float32 · text, image [I, D] float32
             has_text, has_image [I] bool
             launched_at [I] int64 (0 = always) · withdrawn [I] bool · price [I] float64 (NaN = none)
             item_id, title, description, category_l1, category_l2, gender, image_path: string columns
    two_tower/ config.json · weights.safetensors · encoded_id [I] int32 · candidate [I, E] float32
    ranker/    config.json · weights.safetensors · encoded_id [I] int32
               popularity [D, I] float32, from the first test day to the day after the data, if the ranker reads it
    index/     faiss.index (flat: searched exactly)
    pca/       text.safetensors · image.safetensors
    bloom/     hashes [I, 2] uint64
    popularity/ global [n] int32 · by_category.json {column: {category: [ItemRow]}}; best first
    reference_stats.json
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import Field, ValidationError

from contracts.catalogue import ItemFeatures
from contracts.config import StrictConfig
from contracts.errors import BundleError
from contracts.ids import AnyArray, IntArray
from contracts.strings import StringColumn, map_array
from contracts.transforms import FittedTransforms

SCHEMA_VERSION: Final = 1
MANIFEST: Final = "manifest.json"
MANIFEST_DIGEST: Final = "manifest.sha256"
TRANSFORMS: Final = "transforms.json"
INDEX: Final = "index/faiss.index"
STRING_COLUMNS: Final = ("item_id", "title", "description", "category_l1", "category_l2", "gender", "image_path")
PER_ITEM_ARRAYS: Final = (
    *(
        f"items/{name}"
        for name in (
            *("categorical", "continuous", "text", "image", "has_text", "has_image"),
            *("launched_at", "withdrawn", "price"),
        )
    ),
    "two_tower/encoded_id",
    "two_tower/candidate",
    "ranker/encoded_id",
    "bloom/hashes",
)
"""Arrays with one row an item."""
_CHUNK = 1 << 20


class FileEntry(StrictConfig):
    """Checksum of one file."""

    sha256: str
    """Hex digest of the content."""
    size: int
    """Bytes."""


class EncoderEntry(StrictConfig):
    """Which encoder made the text or picture embeddings."""

    encoder_id: str
    """Name as the library knows it."""
    weights_hash: str
    """SHA-256 of the weights."""
    pretrained: bool
    """False for the seeded stand-in of the offline demo."""
    dim: int
    """Components after the PCA."""


class Manifest(StrictConfig):
    """What a bundle is, where it came from and what is in it."""

    schema_version: int
    """Version of the layout; other versions are refused."""
    version: str
    """Name of the bundle and of its folder."""
    shop: str
    """Which shop's ids it speaks; prefix of its keys in the stores."""
    created: str
    """UTC, ISO 8601."""
    parent: str | None = None
    """Bundle that it was fine-tuned from or is a delta of."""
    git_revision: str | None = None
    """Revision of the code that made it."""
    raw_dir: str
    """Folder of the raw tables; relative picture paths start there."""
    timezone: str
    """The shop's, IANA."""
    first_day: str
    """First day of the data window, YYYY-MM-DD."""
    last_day: str
    """Last day of the data window, YYYY-MM-DD."""
    num_items: int
    """Rows of the catalogue."""
    dims: dict[str, int]
    """Named sizes: embedding, text, image, history_length …"""
    vocabulary_hashes: dict[str, str]
    """Digest of each vocabulary."""
    files: dict[str, FileEntry]
    """Every file but the manifest, by relative path."""
    metrics: dict[str, float]
    """Headline figures of training."""
    encoders: dict[str, EncoderEntry]
    """By `text` and `image`."""
    missing: tuple[str, ...] = ()
    """Optional columns that the shop does not have: their features are out."""
    warnings: tuple[str, ...] = ()
    """What a reader should know before trusting it."""
    config: dict[str, Any] = Field(default_factory=dict)
    """The whole job config, as values."""


class Bundle:
    """An opened bundle: arrays are mapped, the rest is read when first asked for."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def num_items(self) -> int:
        return self.manifest.num_items

    def array(self, name: str) -> AnyArray:
        """A mapped array by its path without `.npy`, for example `items/price`."""
        return map_array(self.file(name + ".npy"))

    def strings(self, name: str) -> StringColumn:
        """A mapped string column, for example `items/title`."""
        self.file(name + ".offsets.npy")
        return StringColumn.open(self.path / name)

    def json(self, name: str) -> Any:
        """The content of a JSON file."""
        return json.loads(self.file(name).read_text(encoding="utf-8"))

    def file(self, name: str) -> Path:
        """Path of a file that the manifest lists."""
        if name not in self.manifest.files:
            raise BundleError(f"bundle {self.version} has no file {name!r}; it has {sorted(self.manifest.files)}")
        return self.path / name

    @cached_property
    def transforms(self) -> FittedTransforms:
        return FittedTransforms.from_json(self.file(TRANSFORMS).read_text(encoding="utf-8"))

    @cached_property
    def items(self) -> ItemFeatures:
        names = ("categorical", "continuous", "text", "image", "launched_at")
        return ItemFeatures(**{name: self.array(f"items/{name}") for name in names})

    @cached_property
    def item_rows(self) -> dict[str, int]:
        """ItemRow of each raw item id."""
        return {str(raw): row for row, raw in enumerate(self.strings("items/item_id"))}

    def rows_of(self, raw_ids: list[str] | tuple[str, ...]) -> IntArray:
        """ItemRows of raw ids, [n] int32; -1 for ids that the catalogue does not have."""
        rows = self.item_rows
        return np.fromiter((rows.get(raw, -1) for raw in raw_ids), dtype=np.int32, count=len(raw_ids))


def file_entry(path: Path) -> FileEntry:
    """Checksum and size of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return FileEntry(sha256=digest.hexdigest(), size=path.stat().st_size)


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Fills in the files that the folder holds and writes manifest and digest; nothing may be added afterwards."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): file_entry(path) for path in paths}
    files = {name: entry for name, entry in files.items() if name not in (MANIFEST, MANIFEST_DIGEST)}
    sealed = manifest.model_copy(update={"files": files})
    text = sealed.model_dump_json(indent=2)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    (folder / MANIFEST_DIGEST).write_text(hashlib.sha256(text.encode()).hexdigest(), encoding="ascii")
    return sealed


def open_bundle(path: str | Path, *, verify: bool = True) -> Bundle:
    """Opens a bundle and refuses a missing, damaged or foreign one by name.

    Args:
        path: the bundle's folder.
        verify: also compare every checksum; sizes are always compared.

    Raises:
        BundleError: no manifest, another schema version, a folder of another name, a missing or changed file,
            or vocabularies other than those that the manifest names.
    """
    folder = Path(path)
    manifest = _read_manifest(folder)
    if folder.resolve().name != manifest.version:
        raise BundleError(f"folder {folder.name!r} holds bundle {manifest.version!r}; a bundle must keep its name")
    for name, entry in manifest.files.items():
        _check_file(folder / name, name, entry, manifest.version, verify=verify)
    bundle = Bundle(folder, manifest)
    _check_lengths(bundle)
    for name, vocabulary in bundle.transforms.vocabularies.items():
        if manifest.vocabulary_hashes.get(name) != vocabulary.digest:
            raise BundleError(f"bundle {manifest.version}: vocabulary {name!r} is not the one that the manifest names")
    return bundle


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"no {MANIFEST} in {folder}; expected the folder of a bundle")
    content = path.read_bytes()
    digest = folder / MANIFEST_DIGEST
    if not digest.is_file():
        raise BundleError(f"no {MANIFEST_DIGEST} in {folder}; copy the bundle again or build it anew")
    if digest.read_bytes() != hashlib.sha256(content).hexdigest().encode():
        raise BundleError(f"{path} does not match {MANIFEST_DIGEST}; it is damaged")
    try:
        values = json.loads(content)
        found = values.get("schema_version") if isinstance(values, dict) else None
        if found != SCHEMA_VERSION:
            raise BundleError(f"{path} has schema version {found!r}, this code reads {SCHEMA_VERSION}; build it anew")
        return Manifest.model_validate(values)
    except (json.JSONDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise BundleError(f"{path} is no manifest of a bundle: {error}") from error


def _check_lengths(bundle: Bundle) -> None:
    """Every array and column by ItemRow is as long as the catalogue."""
    lengths = {f"{name}.npy": len(bundle.array(name)) for name in PER_ITEM_ARRAYS}
    lengths |= {f"items/{name}": len(bundle.strings(f"items/{name}")) for name in STRING_COLUMNS}
    for name, length in lengths.items():
        if length != bundle.num_items:
            raise BundleError(f"bundle {bundle.version}: {name!r} has {length} rows for {bundle.num_items} items")


def _check_file(path: Path, name: str, entry: FileEntry, version: str, *, verify: bool) -> None:
    if not path.is_file():
        raise BundleError(f"bundle {version} lacks the file {name!r}; copy it again or build it anew")
    size = path.stat().st_size
    if size != entry.size:
        raise BundleError(f"bundle {version}: {name!r} has {size} bytes, the manifest says {entry.size}; it is damaged")
    if verify and file_entry(path).sha256 != entry.sha256:
        raise BundleError(f"bundle {version}: {name!r} does not match its checksum; it is damaged")
