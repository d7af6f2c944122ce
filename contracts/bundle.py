"""Opens the artifact bundle: one immutable folder with everything that serving needs.

`contracts.bundle_layout` lists its files.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from contracts import columns as c
from contracts.bundle_layout import MODELS, NEEDED, POPULAR, POPULARITY, STRING_COLUMNS, VALUES, per_item_arrays
from contracts.catalogue import ItemFeatures
from contracts.encoded import EncodedColumns
from contracts.errors import BundleError, ConfigError
from contracts.feature import FeatureKind, Side
from contracts.ids import AnyArray, FloatArray, IntArray, check_rows
from contracts.item_values import Categories, ItemValues
from contracts.json_text import first_fault, parse_json
from contracts.manifest import MANIFEST, MANIFEST_DIGEST, FileEntry, Manifest, parse_manifest
from contracts.model_entry import MODEL_CONFIG, ModelEntry
from contracts.schema import FeatureSchema
from contracts.strings import StringColumn, map_array
from contracts.transforms import SCHEMA, VOCABULARIES, FittedTransforms
from contracts.vocabulary import Vocabulary

_CHUNK = 1 << 20


class Bundle:
    """An opened bundle. Arrays are memory-mapped, the rest is read at first use."""

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
        """Maps an array by its path without `.npy`, for example `items/codes`.

        Raises:
            BundleError: the file is missing or not an array.
        """
        path = self.file(name + ".npy")
        try:
            return map_array(path)
        except (ValueError, OSError, EOFError) as error:
            raise BundleError(f"bundle {self.version}: {name + '.npy'!r} is not an array: {error}") from error

    def strings(self, name: str) -> StringColumn:
        """Maps a string column, for example `items/title`; raises as `array`."""
        return StringColumn(self.array(name + ".offsets"), self.array(name + ".data"))

    def json(self, name: str) -> dict[str, JsonValue]:
        """Reads a JSON file that holds an object.

        Raises:
            BundleError: the file is missing, not JSON, or holds something else.
        """
        path = self.file(name)
        try:
            values = parse_json(path.read_bytes())
        except ValueError as error:
            raise BundleError(f"bundle {self.version}: {name!r} is not readable JSON: {error}") from error
        if not isinstance(values, dict):
            raise BundleError(f"bundle {self.version}: {name!r} holds a {type(values).__name__}, expected an object")
        return values

    def model_entry(self, model: str) -> ModelEntry:
        """How a model is built, by `two_tower` or `ranker`; raises as `json`."""
        name = f"{model}/{MODEL_CONFIG}"
        return ModelEntry.of(self.json(name), f"bundle {self.version}: {name!r}")

    def file(self, name: str) -> Path:
        """Path of a file that the manifest lists."""
        if name not in self.manifest.files:
            raise BundleError(f"bundle {self.version} has no file {name!r}; it has {sorted(self.manifest.files)}")
        return self.path / name

    @cached_property
    def transforms(self) -> FittedTransforms:
        try:
            transforms = FittedTransforms.open(self.path)
        except (OSError, ConfigError) as error:
            raise BundleError(f"bundle {self.version}: its transforms cannot be used: {error}") from error
        except ValueError as error:
            raise BundleError(f"bundle {self.version}: its transforms cannot be used: {first_fault(error)}") from error
        for name in transforms.vocabularies:
            self.file(f"{VOCABULARIES}/{name}.data.npy")
        return transforms

    @property
    def schema(self) -> FeatureSchema:
        """The features of its shop."""
        return self.transforms.schema

    @cached_property
    def items(self) -> ItemFeatures:
        layout = self.schema.layout(Side.ITEM)
        columns = EncodedColumns(
            self.schema.digest,
            self.array("items/codes"),
            self.array("items/numbers"),
            tuple(self.array(f"items/lists/{name}") for name in layout.lists),
            tuple(self.array(f"items/vectors/{name}") for name in layout.vectors),
        )
        return ItemFeatures(columns, self.array("items/launched_at"))

    def item_vectors(self, feature: str) -> FloatArray:
        """Vectors of the items for a feature, [I, D] float32; [I, 0] if the schema does not have it."""
        layout, vectors = self.schema.layout(Side.ITEM), self.items.columns.vectors
        found = dict(zip(layout.vectors, vectors, strict=True))
        return found.get(feature, np.zeros((self.num_items, 0), dtype=np.float32))

    @cached_property
    def values(self) -> ItemValues:
        """Raw values of the items by column, for filters and answers."""
        found: dict[str, Categories | NDArray[np.float64]] = {}
        for feature in self.schema.shown:
            name = f"{VALUES}/{feature.column_name}"
            if feature.kind is FeatureKind.NUMERIC:
                found[feature.column_name] = self.array(name)
            else:
                found[feature.column_name] = Categories(self._vocabulary(name), self.array(f"{name}.codes"))
        return found

    def has_values(self, column: str) -> bool:
        """Whether the shop's items have a column for filters and answers."""
        return column in self.values and f"{c.ITEMS.name}.{column}" not in self.manifest.missing

    def _vocabulary(self, name: str) -> Vocabulary:
        try:
            return Vocabulary.open(self.file(f"{name}.data.npy").with_name(name.rpartition("/")[2]))
        except ValueError as error:
            raise BundleError(f"bundle {self.version}: {error}") from error

    @cached_property
    def item_rows(self) -> dict[str, int]:
        """ItemRow of each raw item id."""
        return {str(raw): row for row, raw in enumerate(self.strings("items/item_id"))}

    def rows_of(self, raw_ids: list[str] | tuple[str, ...]) -> IntArray:
        """ItemRows of raw ids, [n] int32; -1 for unknown ids."""
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
    """Lists the folder's files in the manifest and writes manifest and digest; nothing may be added afterwards."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): file_entry(path) for path in paths}
    files = {name: entry for name, entry in files.items() if name not in (MANIFEST, MANIFEST_DIGEST)}
    sealed = manifest.model_copy(update={"files": files})
    text = sealed.model_dump_json(indent=2)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    (folder / MANIFEST_DIGEST).write_text(hashlib.sha256(text.encode()).hexdigest(), encoding="ascii")
    return sealed


def open_bundle(path: str | Path, *, verify: bool = True) -> Bundle:
    """Opens a bundle; refuses a missing, damaged or foreign one with the reason.

    Args:
        path: the bundle's folder.
        verify: whether to compare all checksums; sizes are always compared.

    Raises:
        BundleError: the manifest is missing or has another schema version, the folder has another name, a path or link
            leaves the folder, a file is missing, changed or of a wrong type, or the vocabularies are not those of the
            manifest.
    """
    folder = Path(path)
    manifest = _read_manifest(folder)
    if folder.resolve().name != manifest.version:
        raise BundleError(f"folder {folder.name!r} holds bundle {manifest.version!r}; a bundle must keep its name")
    check_parts(manifest)
    for name, entry in manifest.files.items():
        _check_file(folder, name, entry, manifest.version, verify=verify)
    bundle = Bundle(folder, manifest)
    _check_arrays(bundle)
    for model in MODELS:
        bundle.model_entry(model)
    if manifest.reads_popularity:
        bundle.array(POPULARITY)
    if manifest.schema_digest != bundle.schema.digest:
        raise BundleError(f"bundle {manifest.version}: {SCHEMA!r} is not the one that the manifest names")
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
        raise BundleError(f"no {MANIFEST_DIGEST} in {folder}; copy the bundle again or rebuild it")
    if digest.read_bytes() != hashlib.sha256(content).hexdigest().encode():
        raise BundleError(f"{path} does not match {MANIFEST_DIGEST}; it is damaged")
    return parse_manifest(content, str(path))


def check_parts(manifest: Manifest) -> None:
    """Refuses a bundle that lacks a file that serving needs.

    Raises:
        BundleError: names the file.
    """
    if lacking := [name for name in NEEDED if name not in manifest.files]:
        raise BundleError(
            f"bundle {manifest.version} lacks {lacking[0]!r}, which serving needs ({len(lacking)} such files are not "
            "in its manifest); rebuild it"
        )


def _check_arrays(bundle: Bundle) -> None:
    """Checks type and length of all arrays and columns by ItemRow, and that popular items are in the catalogue."""
    for name, (dtype, ndim) in {**per_item_arrays(bundle.schema), POPULAR: ("int32", 1)}.items():
        array = bundle.array(name)
        if (array.dtype, array.ndim) != (np.dtype(dtype), ndim):
            raise BundleError(
                f"bundle {bundle.version}: {name + '.npy'!r} is {array.dtype} with {array.ndim} dimensions, expected "
                f"{dtype} with {ndim}"
            )
        if name != POPULAR:
            _check_length(bundle, f"{name}.npy", len(array))
    for name in STRING_COLUMNS:
        column = bundle.strings(f"items/{name}")
        _check_length(bundle, f"items/{name}", len(column))
        if fault := column.fault():
            raise BundleError(f"bundle {bundle.version}: 'items/{name}' is not a string column: {fault}")
    try:
        check_rows(np.asarray(bundle.array(POPULAR)), bundle.num_items)
    except ValueError as error:
        raise BundleError(f"bundle {bundle.version}: '{POPULAR}.npy' cannot be used: {error}") from error


def _check_length(bundle: Bundle, name: str, length: int) -> None:
    if length != bundle.num_items:
        raise BundleError(f"bundle {bundle.version}: {name!r} has {length} rows for {bundle.num_items} items")


def _check_file(folder: Path, name: str, entry: FileEntry, version: str, *, verify: bool) -> None:
    path = folder / name
    if path.resolve() != folder.resolve() / name:
        raise BundleError(f"bundle {version}: {name!r} is or goes through a link; copy the files themselves")
    if not path.is_file():
        raise BundleError(f"bundle {version} lacks the file {name!r}; copy it again or rebuild it")
    size = path.stat().st_size
    if size != entry.size:
        raise BundleError(f"bundle {version}: {name!r} has {size} bytes, the manifest says {entry.size}; it is damaged")
    if verify and file_entry(path).sha256 != entry.sha256:
        raise BundleError(f"bundle {version}: {name!r} does not match its checksum; it is damaged")
