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
from typing import Final

import numpy as np
import pyarrow as pa

from contracts import columns as c
from contracts.clock import ShopCalendar
from contracts.errors import DataError
from contracts.files import atomic_dir
from contracts.ids import BoolArray, FloatArray
from contracts.manifest import EncoderEntry
from contracts.strings import map_array
from training.embeddings.cache import VectorCache
from training.embeddings.config import EmbedConfig
from training.embeddings.encoders import (
    ERROR,
    EncoderIdentity,
    ImageEncoder,
    TextEncoder,
    identify_image,
    identify_text,
)
from training.embeddings.pca import Pca
from training.embeddings.pools import encode_missing, hash_pictures
from training.features.processed import Processed, open_processed

logger = logging.getLogger(__name__)

KINDS: Final = ("text", "image")
ENCODERS: Final = "encoders.json"
REPORT: Final = "report.json"


@dataclass(frozen=True)
class EmbeddingSummary:
    """Counts of a run: items, those with text and with a picture, newly encoded contents, and seconds."""

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
    """Writes the embeddings of a processed run's catalogue; contents in the cache are not encoded again.

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
        DataError: the folder holds no embeddings.
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
    encoded = encode_missing(contents, cache, TextEncoder, arguments, config.text)
    return _collect(cache, hashes, encoded, [None] * len(texts))


def _embed_images(
    config: EmbedConfig, processed: Processed, identity: EncoderIdentity, cache_dir: Path, base: Path
) -> _Embedded:
    locations = processed.items[c.IMAGE_PATH].to_pylist()
    hashes, errors = hash_pictures(locations, base, config.image)
    cache = VectorCache(cache_dir / f"image-{identity.key}")
    contents = {key: place for key, place in zip(hashes, locations, strict=True) if key is not None}
    arguments = {"config": config.image, "identity": identity, "seed": config.seed, "base": base}
    encoded = encode_missing(contents, cache, ImageEncoder, arguments, config.image)
    return _collect(cache, hashes, encoded, errors)


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
