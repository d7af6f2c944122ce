"""Embeds the catalogue: text and pictures by Ray Data actor pools, then PCA.

text.npy, image.npy          [I, K] float32 after the PCA; zeros where there is no text or picture
has_text.npy, has_image.npy  [I] bool
text_pca.safetensors, image_pca.safetensors   mean [D], components [K, D]
encoders.json                {"text": EncoderEntry, "image": EncoderEntry}
report.json                  counts, unreadable pictures, warnings
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy

from contracts import columns as c
from contracts.bundle import EncoderEntry
from contracts.clock import ShopCalendar
from contracts.errors import DataError
from contracts.files import atomic_dir
from contracts.ids import BoolArray, FloatArray
from contracts.strings import map_array
from training.embeddings.cache import VectorCache
from training.embeddings.config import EmbedConfig, PoolConfig
from training.embeddings.content import read_content
from training.embeddings.encoders import (
    CONTENT,
    ERROR,
    HASH,
    EncoderIdentity,
    ImageEncoder,
    TextEncoder,
    identify_image,
    identify_text,
)
from training.embeddings.pca import Pca
from training.features.processed import Processed, open_processed

logger = logging.getLogger(__name__)

KINDS: Final = ("text", "image")
ENCODERS: Final = "encoders.json"
REPORT: Final = "report.json"
_ROWS_PER_TASK: Final = 128
_ROWS_PER_SHARD: Final = 4096


@dataclass(frozen=True)
class EmbeddingSummary:
    """What a run did: items, how many have text and a picture, how many contents were encoded now, and seconds."""

    num_items: int
    num_texts: int
    num_images: int
    texts_encoded: int
    images_encoded: int
    unreadable: int
    seconds: float


@dataclass(frozen=True)
class CatalogueEmbeddings:
    """Content embeddings of I items, by ItemRow.

    Attributes:
        text: [I, K] float32.
        image: [I, K] float32.
        has_text: [I] bool.
        has_image: [I] bool.
        encoders: by `text` and `image`.
        warnings: what a reader should know before trusting them.
    """

    text: FloatArray
    image: FloatArray
    has_text: BoolArray
    has_image: BoolArray
    encoders: dict[str, EncoderEntry]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Embedded:
    """Raw vectors [I, D], L2-normalised, of one kind of content."""

    vectors: FloatArray
    present: BoolArray
    errors: list[str | None]
    num_encoded: int


def embed_catalogue(config: EmbedConfig, processed_dir: Path, cache_dir: Path, out_dir: Path) -> EmbeddingSummary:
    """Writes the embeddings of a processed run's catalogue; what the cache holds is not encoded again.

    Ray must be initialised.

    Args:
        config: the encoders.
        processed_dir: the processed run.
        cache_dir: raw vectors and downloaded weights, shared by runs.
        out_dir: folder to write; replaced when it exists.

    Raises:
        ConfigError: an encoder or its weights cannot be found.
        DataError: there is no processed run.
    """
    started = time.monotonic()
    processed = open_processed(processed_dir)
    cache_dir = cache_dir.resolve()
    base = Path(processed.info.raw_dir).resolve()
    identities = {
        "text": identify_text(config.text, cache_dir),
        "image": identify_image(config.image, config.seed, cache_dir),
    }
    embedded = {
        "text": _embed_texts(config, processed, identities["text"], cache_dir),
        "image": _embed_images(config, processed, identities["image"], cache_dir, base),
    }
    unreadable = _unreadable(processed, embedded["image"])
    warnings = _warnings(identities["image"], unreadable)
    for warning in warnings:
        logger.warning(warning)
    summary = EmbeddingSummary(
        num_items=processed.num_items,
        num_texts=int(embedded["text"].present.sum()),
        num_images=int(embedded["image"].present.sum()),
        texts_encoded=embedded["text"].num_encoded,
        images_encoded=embedded["image"].num_encoded,
        unreadable=len(unreadable),
        seconds=round(time.monotonic() - started, 3),
    )
    with atomic_dir(out_dir) as folder:
        _write(folder, config.dim, processed, identities, embedded)
        report = {**asdict(summary), "unreadable_images": unreadable, "warnings": warnings}
        (folder / REPORT).write_text(json.dumps(report, indent=1), encoding="utf-8")
    return summary


def open_embeddings(path: Path) -> CatalogueEmbeddings:
    """Opens the embeddings that `embed_catalogue` wrote; arrays are mapped.

    Raises:
        DataError: the folder holds none.
    """
    if not (Path(path) / ENCODERS).is_file():
        raise DataError(f"no {ENCODERS} in {path}; expected the folder of embeddings, run the embed job first")
    encoders = json.loads((path / ENCODERS).read_text(encoding="utf-8"))
    report = json.loads((path / REPORT).read_text(encoding="utf-8"))
    return CatalogueEmbeddings(
        **{name: map_array(path / f"{name}.npy") for name in ("text", "image", "has_text", "has_image")},
        encoders={kind: EncoderEntry.model_validate(entry) for kind, entry in encoders.items()},
        warnings=tuple(report["warnings"]),
    )


def item_texts(items: pa.Table, fields: Sequence[str]) -> list[str | None]:
    """The text of each item: its fields joined to sentences; None where all are missing."""
    rows = zip(*(items[name].to_pylist() for name in fields), strict=True)
    joined = (". ".join(part.strip().rstrip(".") for part in row if part and part.strip()) for row in rows)
    return [text or None for text in joined]


def _embed_texts(config: EmbedConfig, processed: Processed, identity: EncoderIdentity, cache_dir: Path) -> _Embedded:
    texts = item_texts(processed.items, config.text.fields)
    hashes = [None if text is None else hashlib.sha256(text.encode()).hexdigest() for text in texts]
    cache = VectorCache(cache_dir / f"text-{identity.key}")
    contents = {key: text for key, text in zip(hashes, texts, strict=True) if key is not None and text is not None}
    arguments = {"config": config.text, "identity": identity}
    encoded = _encode_missing(contents, cache, TextEncoder, arguments, config.text)
    return _collect(cache, hashes, encoded, [None] * len(texts))


def _embed_images(
    config: EmbedConfig, processed: Processed, identity: EncoderIdentity, cache_dir: Path, base: Path
) -> _Embedded:
    locations = processed.items[c.IMAGE_PATH].to_pylist()
    hashes, errors = _hash_pictures(locations, base)
    cache = VectorCache(cache_dir / f"image-{identity.key}")
    contents = {key: place for key, place in zip(hashes, locations, strict=True) if key is not None}
    arguments = {"config": config.image, "identity": identity, "seed": config.seed, "base": base}
    encoded = _encode_missing(contents, cache, ImageEncoder, arguments, config.image)
    return _collect(cache, hashes, encoded, errors)


def _hash_pictures(locations: list[str | None], base: Path) -> tuple[list[str | None], list[str | None]]:
    """Content hashes, and the errors of pictures that cannot be read; both None where an item has no picture."""
    rows = [row for row, location in enumerate(locations) if location]
    hashes: list[str | None] = [None] * len(locations)
    errors: list[str | None] = [None] * len(locations)
    if not rows:
        return hashes, errors

    def hash_batch(batch: pa.Table) -> pa.Table:
        found = [_hash_picture(location, base) for location in batch[CONTENT].to_pylist()]
        columns = [batch["row"], *(pa.array(values, pa.string()) for values in zip(*found, strict=True))]
        return pa.table(columns, names=["row", HASH, ERROR])

    table = pa.table({"row": rows, CONTENT: [locations[row] for row in rows]})
    hashed = ray.data.from_arrow(_slices(table, _ROWS_PER_SHARD)).map_batches(
        hash_batch, batch_size=None, batch_format="pyarrow"
    )
    for answer in hashed.take_all():
        hashes[answer["row"]], errors[answer["row"]] = answer[HASH], answer[ERROR]
    return hashes, errors


def _hash_picture(location: str, base: Path) -> tuple[str | None, str | None]:
    try:
        return hashlib.sha256(read_content(location, base)).hexdigest(), None
    except DataError as error:
        return None, error.message


def _encode_missing(
    contents: dict[str, str], cache: VectorCache, encoder: type[Any], arguments: dict[str, Any], pool: PoolConfig
) -> int:
    """Encodes the contents, by hash, that the cache lacks; returns how many."""
    keys = list(contents)
    absent = cache.missing(keys)
    wanted = sorted((key for key, missing in zip(keys, absent, strict=True) if missing), key=lambda k: len(contents[k]))
    if not wanted:
        return 0
    table = pa.table({HASH: wanted, CONTENT: [contents[key] for key in wanted]})
    encoded = ray.data.from_arrow(_slices(table, _ROWS_PER_TASK)).map_batches(
        encoder,
        fn_constructor_kwargs=arguments,
        batch_size=None,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=pool.pool_size),
        num_cpus=pool.num_cpus,
        num_gpus=pool.num_gpus,
    )
    waiting: list[pa.Table] = []
    for block in encoded.iter_batches(batch_size=None, batch_format="pyarrow"):
        waiting.append(block)
        if sum(len(part) for part in waiting) >= _ROWS_PER_SHARD:
            cache.append(pa.concat_tables(waiting))
            waiting = []
    if waiting:
        cache.append(pa.concat_tables(waiting))
    return len(wanted)


def _slices(table: pa.Table, size: int) -> list[pa.Table]:
    return [table.slice(start, size) for start in range(0, len(table), size)]


def _collect(cache: VectorCache, hashes: list[str | None], num_encoded: int, errors: list[str | None]) -> _Embedded:
    vectors, recorded = cache.vectors(hashes)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    normalised = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    return _Embedded(
        normalised,
        norms[:, 0] > 0,
        [first or second for first, second in zip(errors, recorded, strict=True)],
        num_encoded,
    )


def _unreadable(processed: Processed, images: _Embedded) -> list[dict[str, str]]:
    ids, paths = processed.items[c.ITEM_ID].to_pylist(), processed.items[c.IMAGE_PATH].to_pylist()
    rows = zip(ids, paths, images.errors, strict=True)
    return [{c.ITEM_ID: key, c.IMAGE_PATH: path, ERROR: error} for key, path, error in rows if error is not None]


def _warnings(image: EncoderIdentity, unreadable: list[dict[str, str]]) -> list[str]:
    warnings = []
    if not image.pretrained:
        warnings.append(
            f"the picture encoder {image.encoder_id} is an untrained stand-in: its embeddings carry colour and shape "
            "of simple pictures, not what a picture shows; set embed.image.model and embed.image.pretrained"
        )
    if unreadable:
        warnings.append(
            f"{len(unreadable)} pictures cannot be read, the first is {unreadable[0][c.IMAGE_PATH]!r} of item "
            f"{unreadable[0][c.ITEM_ID]!r}; these items are known by their text only, see {REPORT}"
        )
    return warnings


def _write(
    folder: Path,
    dim: int,
    processed: Processed,
    identities: dict[str, EncoderIdentity],
    embedded: dict[str, _Embedded],
) -> None:
    info = processed.info
    launched = processed.launched_at < ShopCalendar(info.timezone).start_of_day(info.train_end_day + 1)
    entries = {}
    for kind in KINDS:
        part, identity = embedded[kind], identities[kind]
        pca = Pca.fit(part.vectors[part.present & launched], dim)
        pca.save(folder / f"{kind}_pca.safetensors")
        np.save(folder / f"{kind}.npy", pca.apply(part.vectors, part.present))
        np.save(folder / f"has_{kind}.npy", part.present)
        entries[kind] = EncoderEntry(
            encoder_id=identity.encoder_id, weights_hash=identity.weights_hash, pretrained=identity.pretrained, dim=dim
        ).model_dump()
    (folder / ENCODERS).write_text(json.dumps(entries, indent=1), encoding="utf-8")
