from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from contracts.clock import DAY_S
from contracts.errors import DataError
from tests.fixtures.raw_tables import FIRST_DAY, START
from training.embeddings import EmbedConfig, catalogue, embed_catalogue, open_embeddings
from training.embeddings.cache import VectorCache
from training.embeddings.config import ImageEncoderConfig, PoolConfig
from training.embeddings.encoders import CONTENT, VECTORS, EncoderIdentity
from training.embeddings.pools import encode_missing, hash_pictures
from training.features.processed import ProcessedInfo

ITEMS = {
    "item_id": ["i1", "i2", "i3", "i4", "i5"],
    "title": ["Red lamp", "Blue lamp", None, "Oak table", "Oak table"],
    "description": ["A lamp.", None, None, "Of oak", "Of oak"],
    "category_l1": ["lamps", None, "lamps", "tables", "tables"],
    "image_path": ["images/1.png", "images/gone.png", None, "images/broken.png", "images/1.png"],
    "launched_at": pa.array([None, START, None, START, START + 9 * DAY_S], pa.int64()),
}


class FakeEncoder:
    """Three numbers drawn from the content; refuses contents that are called broken."""

    def __init__(self, **_: Any) -> None:
        pass

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = []
        for key, content in zip(*(batch[name].to_pylist() for name in ("content_hash", CONTENT)), strict=True):
            seed = int(hashlib.sha256(content.encode()).hexdigest()[:8], 16)
            broken = "broken" in content
            vector = None if broken else np.random.default_rng(seed).normal(size=3)
            rows.append((key, vector, "no picture" if broken else None))
        return pa.Table.from_pylist([dict(zip(VECTORS.names, row, strict=True)) for row in rows], schema=VECTORS)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A processed run of five items and its pictures; returns its folder."""
    raw, processed = tmp_path / "raw", tmp_path / "processed"
    (raw / "images").mkdir(parents=True)
    (raw / "images" / "1.png").write_bytes(b"one")
    (raw / "images" / "broken.png").write_bytes(b"broken")
    (processed / "events").mkdir(parents=True)
    write_items(processed, **ITEMS)
    days = ("first_day", "train_end_day", "validation_day", "validation_end_day", "test_day", "last_day")
    info = ProcessedInfo(
        fingerprint="",
        shop="tiny",
        raw_dir=str(raw),
        timezone="UTC",
        **{name: FIRST_DAY + number for number, name in enumerate(days)},
        counts={},
        kept_out={},
        missing=(),
        has_labels=False,
        seen_events=("view",),
    )
    (processed / "processed.json").write_text(info.model_dump_json())
    return processed


def write_items(processed: Path, **columns: Any) -> None:
    pq.write_table(pa.table(columns), processed / "items.parquet")


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces models and actors; collects the contents that are encoded."""
    contents_seen: list[str] = []

    def encode(contents: dict[str, str], cache: VectorCache, *_: Any) -> int:
        missing = cache.missing(list(contents))
        wanted = {key: text for (key, text), absent in zip(contents.items(), missing, strict=True) if absent}
        contents_seen.extend(wanted.values())
        if wanted:
            table = pa.table({"content_hash": list(wanted), CONTENT: list(wanted.values())})
            cache.append(FakeEncoder()(table))
        return len(wanted)

    def hash_files(locations: list[str | None], base: Path, _: Any) -> tuple[list[str | None], list[str | None]]:
        paths = [base / location if location else None for location in locations]
        found = [path and path.is_file() for path in paths]
        hashes = [str(path.read_bytes()) if path and path.is_file() else None for path in paths]
        return hashes, ["no such file" if ok is False else None for ok in found]

    text = EncoderIdentity("fake/text", "1", "none", True, None)
    monkeypatch.setattr(catalogue, "identify_text", lambda *_: text)
    monkeypatch.setattr(catalogue, "identify_image", lambda *_: EncoderIdentity("fake/image", "2", "none", False, None))
    monkeypatch.setattr(catalogue, "encode_missing", encode)
    monkeypatch.setattr(catalogue, "hash_pictures", hash_files)
    return contents_seen


CONFIG = EmbedConfig(dim=2)


def test_items_get_vectors_and_masks(shop: Path, encoded: list[str], tmp_path: Path) -> None:
    summary = embed_catalogue(CONFIG, shop, tmp_path / "cache", tmp_path / "out")
    embeddings = open_embeddings(tmp_path / "out")
    assert embeddings.has_text.tolist() == [True, True, False, True, True]
    assert embeddings.has_image.tolist() == [True, False, False, False, True]
    for values, present in ((embeddings.text, embeddings.has_text), (embeddings.image, embeddings.has_image)):
        assert values.shape == (5, 2)
        assert values.dtype == np.float32
        assert (values[~present] == 0).all()
    assert embeddings.text[3].tolist() == embeddings.text[4].tolist()
    assert (summary.num_texts, summary.num_images, summary.unreadable) == (4, 2, 2)
    assert encoded == ["Red lamp. A lamp", "Blue lamp", "Oak table. Of oak", "images/1.png", "images/broken.png"]
    assert embeddings.encoders["text"].model_dump() == {
        "encoder_id": "fake/text",
        "weights_hash": "1",
        "pretrained": True,
        "dim": 2,
    }


def test_raw_vectors_are_normalised_before_the_pca(shop: Path, encoded: list[str], tmp_path: Path) -> None:
    embed_catalogue(EmbedConfig(dim=3), shop, tmp_path / "cache", tmp_path / "out")
    texts = open_embeddings(tmp_path / "out").text[[0, 1, 3]].astype(float)
    raw = [
        np.random.default_rng(int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)).normal(size=3)
        for text in encoded[:3]
    ]
    unit = np.array(raw) / np.linalg.norm(raw, axis=1, keepdims=True)
    between = [(0, 1), (0, 2), (1, 2)]
    expected = [np.linalg.norm(unit[one] - unit[other]) for one, other in between]
    assert [np.linalg.norm(texts[one] - texts[other]) for one, other in between] == pytest.approx(expected, abs=1e-5)


def test_the_pca_is_fitted_on_items_launched_by_the_end_of_training(
    shop: Path, encoded: list[str], tmp_path: Path
) -> None:
    embed_catalogue(CONFIG, shop, tmp_path / "cache", tmp_path / "all")
    later = pa.array([None, START, None, START + 2 * DAY_S, START + 9 * DAY_S], pa.int64())
    write_items(shop, **{**ITEMS, "launched_at": later})
    embed_catalogue(CONFIG, shop, tmp_path / "cache", tmp_path / "fewer")
    assert (tmp_path / "all" / "image_pca.safetensors").read_bytes() == (
        tmp_path / "fewer" / "image_pca.safetensors"
    ).read_bytes()
    assert (tmp_path / "all" / "text_pca.safetensors").read_bytes() != (
        tmp_path / "fewer" / "text_pca.safetensors"
    ).read_bytes()


def test_a_second_run_encodes_nothing_and_a_changed_text_only_itself(
    shop: Path, encoded: list[str], tmp_path: Path
) -> None:
    first = embed_catalogue(CONFIG, shop, tmp_path / "cache", tmp_path / "one")
    second = embed_catalogue(CONFIG, shop, tmp_path / "cache", tmp_path / "two")
    assert (first.texts_encoded, first.images_encoded) == (3, 2)
    assert (second.texts_encoded, second.images_encoded, second.unreadable) == (0, 0, 2)
    for name in ("text.npy", "image.npy", "encoders.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    encoded.clear()
    write_items(shop, **{**ITEMS, "title": ["Green lamp", *ITEMS["title"][1:]]})
    embed_catalogue(CONFIG, shop, tmp_path / "cache", tmp_path / "three")
    assert encoded == ["Green lamp. A lamp"]


def test_unreadable_pictures_are_reported_and_not_fatal(shop: Path, encoded: list[str], tmp_path: Path) -> None:
    embed_catalogue(CONFIG, shop, tmp_path / "cache", tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["unreadable_images"] == [
        {"item_id": "i2", "image_path": "images/gone.png", "error": "no such file"},
        {"item_id": "i4", "image_path": "images/broken.png", "error": "no picture"},
    ]
    untrained, unreadable = open_embeddings(tmp_path / "out").warnings
    assert untrained.startswith("the picture encoder fake/image is an untrained stand-in")
    assert unreadable.startswith("2 pictures cannot be read, the first is 'images/gone.png' of item 'i2'")


def test_a_catalogue_without_content(shop: Path, encoded: list[str], tmp_path: Path) -> None:
    nothing = pa.nulls(5, pa.string())
    write_items(shop, **{**ITEMS, "title": nothing, "description": nothing, "image_path": nothing})
    embed_catalogue(CONFIG, shop, tmp_path / "cache", tmp_path / "out")
    embeddings = open_embeddings(tmp_path / "out")
    assert embeddings.text.shape == embeddings.image.shape == (5, 2)
    assert not embeddings.has_text.any()
    assert not embeddings.text.any()


def test_a_text_is_made_of_the_fields_that_there_are() -> None:
    items = pa.table({name: values for name, values in ITEMS.items() if name != "launched_at"})
    assert catalogue.item_texts(items, ("title", "description", "category_l1"))[:3] == [
        "Red lamp. A lamp. lamps",
        "Blue lamp",
        "lamps",
    ]
    blank = pa.table({"title": ["  ", ""]})
    assert catalogue.item_texts(blank, ("title",)) == [None, None]


def test_a_folder_without_embeddings(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no encoders.json in .*; expected the folder of embeddings, run the embed job"
    ):
        open_embeddings(tmp_path)


@pytest.mark.ray
@pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.")  # Ray's own settings
def test_pools_hash_pictures_and_encode_what_is_missing(local_ray: None, shop: Path, tmp_path: Path) -> None:
    base = tmp_path / "raw"
    Image.new("RGB", (5, 5)).save(base / "images" / "1.png")
    locations = ["images/1.png", None, "images/gone.png", "images/1.png"]
    hashes, errors = hash_pictures(locations, base, ImageEncoderConfig())
    one = hashlib.sha256((base / "images" / "1.png").read_bytes()).hexdigest()
    assert hashes == [one, None, None, one]
    assert [error and error.split(": ")[-1] for error in errors] == [None, None, "No such file or directory", None]

    encoder = make_encoder()
    cache, contents = VectorCache(tmp_path / "cache"), {f"key {n}": f"text {n}" for n in range(300)}
    pool = PoolConfig(pool_size=2, num_cpus=1)
    assert encode_missing(contents, cache, encoder, {"size": 2}, pool) == 300
    assert encode_missing(contents, cache, encoder, {"size": 2}, pool) == 0
    vectors, _ = cache.vectors(["key 299", "key 7", "absent"])
    assert vectors.tolist() == [[299, 299], [7, 7], [0, 0]]


@pytest.mark.ray
@pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.")  # Ray's own settings
def test_a_killed_encoder_ends_the_job_with_a_reason(local_ray: None, tmp_path: Path) -> None:
    class Killed:
        def __call__(self, batch: pa.Table) -> pa.Table:
            os.kill(os.getpid(), signal.SIGKILL)

    cache, pool = VectorCache(tmp_path / "cache"), PoolConfig(pool_size=1, num_cpus=1)
    with pytest.raises(DataError, match=r"an encoder was killed \(.*, most likely because memory was short; what was"):
        encode_missing({"key": "text"}, cache, Killed, {}, pool)


def make_encoder() -> type[Any]:
    """A class of a function: it travels to the actors by value."""
    schema = VECTORS

    class Encoder:
        def __init__(self, size: int) -> None:
            self._size = size

        def __call__(self, batch: pa.Table) -> pa.Table:
            numbers = [float(text.split()[1]) for text in batch["content"].to_pylist()]
            vectors = [[number] * self._size for number in numbers]
            return pa.table([batch["content_hash"], vectors, [None] * len(batch)], schema=schema)

    return Encoder
