"""Writes the files of an artifact bundle, seals and verifies it, and publishes the folder by one rename."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from contracts import columns as c
from contracts.bundle import open_bundle, seal
from contracts.bundle_layout import INDEX, POPULARITY, STRING_COLUMNS, VALUES
from contracts.catalogue import ItemFeatures
from contracts.errors import BundleError, DataError
from contracts.feature import Side
from contracts.files import make_private, private_folder
from contracts.history import HistoryReach
from contracts.ids import AnyArray, BoolArray, FloatArray, IntArray
from contracts.item_values import ItemValues, save_values
from contracts.manifest import SCHEMA_VERSION, EncoderEntry, Manifest
from contracts.schema import FeatureSchema
from contracts.strings import StringColumn, map_array
from contracts.transforms import FittedTransforms
from training.reference_stats import ReferenceStats

logger = logging.getLogger(__name__)
TWO_TOWER_FILES: Final = ("config.json", "weights.safetensors", "encoded_id.npy", "candidate.npy")
RANKER_FILES: Final = ("config.json", "weights.safetensors", "encoded_id.npy")


@dataclass(frozen=True)
class BundleParts:
    """Everything that goes into a bundle; I items, row = ItemRow.

    Attributes:
        shop: name of the shop.
        raw_dir: folder of the raw tables.
        first_day: first day of the data window, YYYY-MM-DD.
        last_day: last day of the data window.
        transforms: the fitted transforms.
        items: model inputs of the items.
        strings: `contracts.bundle.STRING_COLUMNS`, each [I] with None for missing.
        values: raw values that filters compare and answers show, by column.
        has_text, has_image: [I].
        bloom_hashes: [I, 2] uint64.
        popular: ItemRows, best first.
        popular_by_category: ItemRows by column and category, best first.
        reference_stats: what drift is measured against.
        two_tower_dir, ranker_dir: folders of the trained models.
        index_file: the FAISS index.
        pca_files: by `text` and `image`.
        encoders: by `text` and `image`.
        history: what is read of a subject's interactions.
        seen_events: events that mark their item as seen.
        metrics: headline figures.
        missing: optional columns that the shop lacks.
        warnings: what a reader should know.
        config: the job's config, as values.
        parent: bundle that it comes from.
        ranker_popularity: [D, I] from the first test day to the day after the data; None = the ranker does not read it.
    """

    shop: str
    raw_dir: str
    first_day: str
    last_day: str
    transforms: FittedTransforms
    items: ItemFeatures
    strings: Mapping[str, Sequence[str | None]]
    values: ItemValues
    has_text: BoolArray
    has_image: BoolArray
    bloom_hashes: NDArray[np.uint64]
    popular: IntArray
    popular_by_category: Mapping[str, Mapping[str, list[int]]]
    reference_stats: ReferenceStats
    two_tower_dir: Path
    ranker_dir: Path
    index_file: Path
    pca_files: Mapping[str, Path]
    encoders: Mapping[str, EncoderEntry]
    history: HistoryReach
    seen_events: tuple[c.EventName, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    config: Mapping[str, JsonValue] = field(default_factory=dict)
    parent: str | None = None
    ranker_popularity: FloatArray | None = None


def write_parts(parts: BundleParts, bundles_dir: Path, version: str) -> Path:
    """Writes `bundles_dir/version`: to a temporary folder, which is verified by opening it and then renamed.

    Equal parts give files with equal checksums. A version that exists with the same files is not written again.

    Raises:
        BundleError: the version exists with other files, or what was written does not open.
        DataError: a model, index or PCA file is missing.
    """
    private_folder(bundles_dir)
    final = bundles_dir / version
    with tempfile.TemporaryDirectory(dir=bundles_dir, prefix=f".{version}.") as temporary:
        folder = Path(temporary) / version
        _write_files(parts, folder)
        sealed = seal(folder, _manifest(parts, version))
        open_bundle(folder)
        make_private(folder)
        if final.exists():
            _refuse_other(final, sealed)
            return final
        folder.rename(final)  # fails if another process was faster: a rename never replaces a filled folder
    logger.info("bundle %s: %d files in %s", version, len(sealed.files), final)
    return final


def _write_files(parts: BundleParts, folder: Path) -> None:
    arrays = item_arrays(parts.transforms.schema, parts.items) | {
        "items/has_text": parts.has_text,
        "items/has_image": parts.has_image,
        "items/withdrawn": np.zeros(len(parts.items), dtype=bool),
        "bloom/hashes": parts.bloom_hashes,
        "popularity/global": parts.popular,
    }
    if parts.ranker_popularity is not None:
        arrays[POPULARITY] = parts.ranker_popularity
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)
    for column in STRING_COLUMNS:
        StringColumn.pack(parts.strings[column]).save(folder / "items" / column)
    _write_json(folder / "popularity/by_category.json", parts.popular_by_category)
    _write_json(folder / "reference_stats.json", parts.reference_stats)
    parts.transforms.save(folder)
    save_values(parts.values, folder / VALUES)
    for name in TWO_TOWER_FILES:
        _copy(parts.two_tower_dir / name, folder / "two_tower" / name)
    for name in RANKER_FILES:
        _copy(parts.ranker_dir / name, folder / "ranker" / name)
    _copy(parts.index_file, folder / INDEX)
    for name, source in parts.pca_files.items():
        _copy(source, folder / "pca" / f"{name}.safetensors")


def item_arrays(schema: FeatureSchema, items: ItemFeatures) -> dict[str, AnyArray]:
    """The model inputs of the items as arrays, by their names in a bundle."""
    layout, columns = schema.layout(Side.ITEM), items.columns
    lists = zip(layout.lists, columns.lists, strict=True)
    vectors = zip(layout.vectors, columns.vectors, strict=True)
    return {
        "items/codes": columns.codes,
        "items/numbers": columns.numbers,
        "items/launched_at": items.launched_at,
        **{f"items/lists/{name}": array for name, array in lists},
        **{f"items/vectors/{name}": array for name, array in vectors},
    }


def _manifest(parts: BundleParts, version: str) -> Manifest:
    return Manifest(
        schema_version=SCHEMA_VERSION,
        version=version,
        shop=parts.shop,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        parent=parts.parent,
        git_revision=git_revision(),
        raw_dir=parts.raw_dir,
        timezone=parts.transforms.timezone,
        first_day=parts.first_day,
        last_day=parts.last_day,
        num_items=len(parts.items),
        embedding_dim=map_array(parts.two_tower_dir / "candidate.npy").shape[1],
        history=parts.history,
        seen_events=parts.seen_events,
        reads_popularity=parts.ranker_popularity is not None,
        schema_digest=parts.transforms.schema.digest,
        vocabulary_hashes={name: vocabulary.digest for name, vocabulary in parts.transforms.vocabularies.items()},
        files={},
        metrics=dict(parts.metrics),
        encoders=dict(parts.encoders),
        missing=parts.missing,
        warnings=parts.warnings,
        config=dict(parts.config),
    )


def _refuse_other(existing: Path, sealed: Manifest) -> None:
    old, new = open_bundle(existing).manifest.files, sealed.files
    changed = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    if changed:
        raise BundleError(
            f"bundle {sealed.version} exists with other content ({', '.join(changed)}); "
            "bundles are immutable: choose another version"
        )


def git_revision() -> str | None:
    """Revision of the code, `-dirty` if it has changes; None outside a clone or without git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, sort_keys=True, ensure_ascii=False), encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        raise DataError(f"no file {source.name!r} in {source.parent}; run the job that writes it first")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
